"""Rows of one lane as one atomic batch. Pure.

Each row carries `Mra-Row: <agent>-<lane> <epoch> <seq> <previous>`: the chain of predecessors lets any reader of the
stream prove that nothing is missing, although rows that were shed or parked leave holes in the numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mra.outbox import drain
from mra.uplink.checkpoint import Checkpoint, checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.outbox.record import Lane, Row
    from mra.uplink.subjects import Subjects

HEADER_ALLOWANCE = 512  # bytes of our own headers on a row, at most
LEAST_PAYLOAD = 8 * 1024  # a server that takes less would have nearly everything parked


def batch_id() -> str:
    """96 random bits: batch ids are one name space per stream across all customers, so they must not be guessed."""
    return os.urandom(12).hex()


def too_large(rows: Sequence[Row], max_payload: int) -> list[int]:
    """Numbers of the rows whose headers and body together may not fit into one message."""
    limit = max_payload - HEADER_ALLOWANCE
    return [row.seq for row in rows if len(row.body) + (len(row.headers.encode()) if row.headers else 0) > limit]


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of one lane, on their way."""

    lane: Lane
    epoch: str
    previous: int  # the row sent before the first of these, 0 when there is none
    total_before: int  # rows of the epoch that were sent before these
    rows: Sequence[Row]
    may_continue: bool  # there are more rows behind these already
    id: str = field(default_factory=batch_id)

    @property
    def through_seq(self) -> int:
        """Number of the last row."""
        return self.rows[-1].seq

    @cached_property
    def size(self) -> int:
        """Bytes of bodies."""
        return sum([len(row.body) for row in self.rows])

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What the SaaS will hold when it holds this batch."""
        return Checkpoint(
            epoch=self.epoch,
            first_seq=self.rows[0].seq,
            through_seq=self.through_seq,
            count=len(self.rows),
            total=self.total_before + len(self.rows),
            created_through=self.rows[-1].wall,
            digest=drain.digest(self.rows),
        )

    def frames(self, subjects: Subjects, reply: str) -> bytes:
        """The rows as members of the atomic batch; the first asks for an answer, so that a refusal shows early."""
        prefix = subjects.rows(self.lane)
        origin = f"{checkpoint_name(subjects.agent, self.lane)} {self.epoch}"
        lead = f"NATS/1.0\r\nNats-Batch-Id:{self.id}\r\nNats-Batch-Sequence:"
        ending = ""
        parts: list[bytes] = []
        previous = self.previous
        answer = f" {reply}"
        for number, row in enumerate(self.rows, 1):
            head = (
                f"{lead}{number}\r\nMra-Row:{origin} {row.seq} {previous}\r\nMra-Id:{row.id}\r\n{row.headers or ''}\r\n"
            )
            length = len(head) if head.isascii() else len(head.encode())
            text = f"{ending}HPUB {prefix}{row.subject}{answer} {length} {length + len(row.body)}\r\n{head}"
            parts.append(text.encode())
            parts.append(row.body)
            previous = row.seq
            answer = ""
            ending = "\r\n"
        parts.append(b"\r\n")
        return b"".join(parts)

    def commit_headers(self, expected: int) -> bytes:
        """Headers of the checkpoint that commits the batch."""
        return (
            f"Nats-Batch-Id:{self.id}\r\nNats-Batch-Sequence:{len(self.rows) + 1}\r\nNats-Batch-Commit:1\r\n".encode()
            + checkpoint_headers(expected)
        )

    def single_headers(self, agent: str, index: int) -> bytes:
        """Headers of row `index` for a stream without atomic batches; the id de-duplicates within its window."""
        row = self.rows[index]
        previous = self.rows[index - 1].seq if index else self.previous
        origin = f"{checkpoint_name(agent, self.lane)} {self.epoch} {row.seq} {previous}"
        # Two nodes of a site may give one id to records of their own; the number of the row tells them apart.
        return f"Nats-Msg-Id:{row.id}-{row.seq}\r\nMra-Row:{origin}\r\nMra-Id:{row.id}\r\n{row.headers or ''}".encode()


def checkpoint_headers(expected: int) -> bytes:
    """Compare-and-swap on the checkpoint's own subject; the checkpoint outlives the stream's max_age.

    It does not roll up the ones before it: a stream that takes `Nats-Rollup: sub` from a site takes `Nats-Rollup: all`
    as well, which empties it for every customer. `mra saas streams tidy` removes old checkpoints.
    """
    return f"Nats-Expected-Last-Subject-Sequence:{expected}\r\nNats-TTL:never\r\n".encode()
