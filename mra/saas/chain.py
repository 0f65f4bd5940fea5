"""Is everything there? Follows the rows of one stream in stream order and keeps one small record per lane. Pure.

Every row names the row sent before it, so holes in the numbers (rows that a site shed or parked) are told from rows
that are missing. The newest checkpoint tells where the lane must end.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mra.errors import Misconfigured
from mra.outbox.record import ORIGIN
from mra.uplink.checkpoint import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.uplink.checkpoint import Checkpoint

_ROW = re.compile(r"([!-~]{1,200}) ([!-~]{1,200}) ([0-9]{1,19}) ([0-9]{1,19})", re.ASCII)


class Message(NamedTuple):
    """One message of a stream."""

    stream_seq: int
    subject: str
    headers: Mapping[str, str]
    body: bytes


class Range(NamedTuple):
    """Sequence numbers `first..last` of a lane, both included."""

    first: int
    last: int


@dataclass
class Epoch:
    """One run of sequence numbers of a lane, as the stream shows it."""

    name: str
    first_seq: int  # the first row seen
    begins_at: int  # what that row named as its predecessor: rows up to there were sent before the stream's first
    last_seq: int
    rows: int = 1
    missing: list[Range] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    reordered: list[int] = field(default_factory=list)

    def add(self, seq: int, previous: int) -> None:
        """The next row in stream order."""
        if seq > self.last_seq:
            if previous > self.last_seq:
                insort(self.missing, Range(self.last_seq + 1, previous))
            self.rows += 1
            self.last_seq = seq
        elif self._fill(seq):
            self.rows += 1
            self.reordered.append(seq)
        else:
            self.duplicated.append(seq)

    def _fill(self, seq: int) -> bool:
        """A row that was thought missing came late."""
        index = bisect_right(self.missing, Range(seq, 2**63)) - 1
        if index < 0 or not self.missing[index].first <= seq <= self.missing[index].last:
            return False
        hole = self.missing.pop(index)
        for part in (Range(hole.first, seq - 1), Range(seq + 1, hole.last)):
            if part.first <= part.last:
                insort(self.missing, part)
        return True


@dataclass
class LaneChain:
    """One lane of one agent of one customer."""

    customer: str
    origin: str  # "<agent>-<lane>"
    epochs: dict[str, Epoch] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    checkpoint_seq: int = 0
    problems: list[str] = field(default_factory=list)
    via: set[str] = field(default_factory=set)  # lanes of leaders that carried it; empty for an agent's own

    def add(self, row: RowName) -> None:
        """The next row in stream order."""
        epoch = self.epochs.get(row.epoch)
        if epoch is None:
            self.epochs[row.epoch] = Epoch(row.epoch, row.seq, row.previous, row.seq)
        else:
            epoch.add(row.seq, row.previous)

    @property
    def rows(self) -> int:
        """Distinct rows stored."""
        return sum(epoch.rows for epoch in self.epochs.values())

    @property
    def duplicated(self) -> int:
        """Rows stored more than once."""
        return sum(len(epoch.duplicated) for epoch in self.epochs.values())

    @property
    def reordered(self) -> int:
        """Rows stored behind a younger one."""
        return sum(len(epoch.reordered) for epoch in self.epochs.values())

    def missing(self) -> list[tuple[str, Range]]:
        """Ranges (with their epoch) in which rows are missing: between rows, and behind the last one."""
        found = [(epoch.name, hole) for epoch in self.epochs.values() for hole in epoch.missing]
        checkpoint = self.checkpoint
        if checkpoint is None or not checkpoint.total:
            return found
        epoch = self.epochs.get(checkpoint.epoch)
        last = epoch.last_seq if epoch else 0
        if last < checkpoint.through_seq:
            found.append((checkpoint.epoch, Range(last + 1, checkpoint.through_seq)))
        return found

    def aged_out(self) -> int:
        """Rows of the newest epoch that the stream held and, by its own limits, no longer does."""
        checkpoint = self.checkpoint
        epoch = self.epochs.get(checkpoint.epoch) if checkpoint else None
        if checkpoint is None or epoch is None or epoch.begins_at == 0 or self.missing():
            return 0
        return max(0, checkpoint.total - epoch.rows)

    def finish(self) -> None:
        """Note what only the end of the stream can show."""
        checkpoint = self.checkpoint
        if self.via:
            return  # its checkpoints are with its leader, whose own chain says that all it sent is here
        if checkpoint is None:
            self.problems.append("there are rows but no checkpoint: it was removed, or they are not from mra's uplink")
            return
        epoch = self.epochs.get(checkpoint.epoch)
        if epoch and epoch.begins_at == 0 and not self.missing() and epoch.rows != checkpoint.total:
            self.problems.append(f"the checkpoint counts {checkpoint.total} rows and {epoch.rows} are stored")
        if epoch and epoch.last_seq > checkpoint.through_seq:
            self.problems.append(f"rows behind the checkpoint ({checkpoint.through_seq}) are stored: {epoch.last_seq}")

    @property
    def is_complete(self) -> bool:
        """Nothing missing, nothing twice, nothing out of order, nothing odd."""
        return not (self.missing() or self.duplicated or self.reordered or self.problems)


class Chain:
    """Feed it every message of a stream in order, then read `lanes`."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, str], LaneChain] = {}
        self.followers: dict[tuple[str, str], LaneChain] = {}  # by what leaders say where their rows are from
        self.foreign = 0  # messages without a row header: other publishers

    def add(self, message: Message) -> None:
        """The next message. Malformed ones are counted as foreign, never raised."""
        words = message.subject.split(".")
        if len(words) >= 5 and words[3] == "checkpoint":
            self._add_checkpoint(words[2], ".".join(words[4:]), message)
            return
        row = parse_row(message.headers)
        if row is None or len(words) < 4:
            self.foreign += 1
            return
        self._lane(words[2], row.origin).add(row)
        if first := parse_row(message.headers, ORIGIN):
            follower = self.followers.setdefault((words[2], first.origin), LaneChain(words[2], first.origin))
            follower.via.add(row.origin)
            follower.add(first)

    def _add_checkpoint(self, customer: str, origin: str, message: Message) -> None:
        lane = self._lane(customer, origin)
        try:
            lane.checkpoint = decode(message.body, message.stream_seq).checkpoint
        except Misconfigured as error:
            lane.problems.append(error.sentence.removesuffix("."))
            return
        lane.checkpoint_seq = message.stream_seq

    def _lane(self, customer: str, origin: str) -> LaneChain:
        return self.lanes.setdefault((customer, origin), LaneChain(customer, origin))

    def finish(self) -> Iterable[LaneChain]:
        """The lanes, with everything noted, in a stable order."""
        for lane in self.lanes.values():
            lane.finish()
        return [lane for lanes in (self.lanes, self.followers) for _, lane in sorted(lanes.items())]


class RowName(NamedTuple):
    """What the header `Mra-Row` says: which row this is, and which one of its epoch was sent before it."""

    origin: str
    epoch: str
    seq: int
    previous: int


def parse_row(headers: Mapping[str, str], name: str = "Mra-Row") -> RowName | None:
    """The row that a message is, None when it is none of mra's; with the name `Mra-Origin`, of the node it is from."""
    found = _ROW.fullmatch(headers.get(name, ""))
    if not found:
        return None
    row = RowName(found[1], found[2], int(found[3]), int(found[4]))
    return row if 0 <= row.previous < row.seq < 2**63 else None
