"""Proving completeness: read the streams with ordinary credentials, and follow every lane's chain."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mra.aio.session import frame
from mra.errors import LinkLost, Refused
from mra.saas.chain import Chain, LaneChain, Message, parse_row
from mra.saas.streams import call_api

if TYPE_CHECKING:
    from mra.aio.session import Session

_BATCH = 1000
_MAX_BYTES = 4 * 1024 * 1024
_PATIENCE = 15.0

Progress = Callable[[int, int], None]


async def read_stream(
    session: Session, stream: str, *, first: int = 1, subject: str = ">", since: str = ""
) -> AsyncIterator[Message]:
    """Every message of `stream` on `subject` from sequence `first` on, in order, by batched direct gets (ADR-31).

    With `since` (RFC 3339) from that time on instead.
    """
    following = first
    while True:
        start = {"start_time": since} if since else {"seq": following}
        since = ""
        request = {**start, "batch": _BATCH, "max_bytes": _MAX_BYTES, "next_by_subj": subject}
        before = following
        with session.reply() as reply:
            body = json.dumps(request).encode()
            await session.send(frame(f"$JS.API.DIRECT.GET.{stream}", reply.subject, b"", body))
            while True:
                answer = await reply.receive(_PATIENCE)
                if answer.status == "204":
                    pending = int(answer.headers.get("Nats-Num-Pending", "0") or 0)
                    break
                if answer.status == "404":
                    return
                if answer.status:
                    raise Refused(
                        f"Stream {stream} cannot be read ({answer.status}): check allow_direct and the account."
                    )
                sequence = int(answer.headers["Nats-Sequence"])
                following = sequence + 1
                yield Message(sequence, answer.headers["Nats-Subject"], answer.headers, answer.body)
        if pending == 0:
            return
        if following == before:
            raise LinkLost(f"Stream {stream} stopped answering at sequence {following}.")


async def verify_stream(
    session: Session, stream: str, *, customer: str | None = None, progress: Progress = lambda done, total: None
) -> list[LaneChain]:
    """Follow every lane of `stream`; of one customer only where asked. Raises Unavailable, Refused."""
    state = (await call_api(session, f"STREAM.INFO.{stream}"))["state"]
    chain = Chain()
    subject = f"machine_room.*.{customer}.>" if customer else ">"
    messages = read_stream(session, stream, first=max(1, state["first_seq"]), subject=subject)
    async with aclosing(messages):  # type: ignore[type-var]
        async for message in messages:
            chain.add(message)
            if message.stream_seq % 1000 == 0:
                progress(message.stream_seq - state["first_seq"], state["last_seq"] - state["first_seq"] + 1)
    lanes = list(chain.finish())
    for lane in lanes:
        await _check_digest(session, stream, lane)
    return lanes


async def _check_digest(session: Session, stream: str, lane: LaneChain) -> None:
    """An atomic batch stands directly before its checkpoint: read it again and compare the digest."""
    checkpoint = lane.checkpoint
    if checkpoint is None or checkpoint.count == 0:
        return
    digest = sha256()
    found = 0
    messages = read_stream(session, stream, first=max(1, lane.checkpoint_seq - checkpoint.count))
    async with aclosing(messages):  # type: ignore[type-var]
        async for message in messages:
            if message.stream_seq >= lane.checkpoint_seq:
                break
            row = parse_row(message.headers)
            if row and (row.origin, row.epoch) == (lane.origin, checkpoint.epoch):
                digest.update(b"%d %s %d\n" % (row.seq, message.headers.get("Mra-Id", "").encode(), len(message.body)))
                digest.update(message.body)
                found += 1
    # Rows published one by one, and rows aged out since, do not stand there; the chain has judged them.
    if found == checkpoint.count and digest.hexdigest() != checkpoint.digest:
        lane.problems.append(f"the rows of the batch up to {checkpoint.through_seq} are not the ones that were sent")


def document(stream: str, lanes: list[LaneChain]) -> list[dict[str, Any]]:
    """The result for programs: one object per lane."""
    return [
        {
            "stream": stream,
            "customer": lane.customer,
            "lane": lane.origin,
            "via": sorted(lane.via),  # the leaders' lanes that carried the rows of a follower
            "rows": lane.rows,
            "through_seq": lane.checkpoint.through_seq if lane.checkpoint else None,
            "missing": [
                {"epoch": epoch, "first_seq": hole.first, "last_seq": hole.last} for epoch, hole in lane.missing()
            ],
            "duplicated": lane.duplicated,
            "reordered": lane.reordered,
            "aged_out": lane.aged_out(),
            "epochs": len(lane.epochs),
            "problems": lane.problems,
            "complete": lane.is_complete,
        }
        for lane in lanes
    ]
