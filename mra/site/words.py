"""What is said on the site's bus: MessagePack, and whatever cannot be one of these words is refused. (pure)"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from mra.errors import BadInput, Fenced, LinkLost, MraError, Rejected, Unavailable
from mra.outbox.record import Draft, Lane, Row, check_draft, wire_headers
from mra.uplink.answers import CheckpointMoved, NoRoom, TooManyRows
from mra.uplink.checkpoint import Checkpoint, Mark, Moment, checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Stint = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
Short = Annotated[str, msgspec.Meta(max_length=64)]
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
ORIGIN_ALLOWANCE = 256  # bytes of the header that says where a row is from, at most
PREFIX, FEED = "site", "site_feed"


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A row on its way."""

    seq: Mark
    id: str
    subject: str
    headers: str | None
    body: bytes
    wall: Moment


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """Where one lane of an earlier stint ended: `number` of the last checkpoint that the follower settled."""

    stint: Stint
    lane: Lane
    leader: Name
    number: Mark


class Hello(msgspec.Struct, frozen=True):
    """A follower introduces itself: what it knows of terms, its stint now, and how earlier ones ended."""

    term: Mark
    leader: Short
    stint: Short
    ended: list[Ended] = []
    strange: list[str] = []  # stints that the leader asked about, and of which this node knows nothing


class Welcome(msgspec.Struct, frozen=True):
    """The answer: who this is and in which term it leads, and how much the SaaS takes in one message."""

    leader: Name
    term: Mark
    max_payload: Mark
    heard: list[str] = []  # earlier stints that need not be told again
    open: list[str] = []  # others of which there are batches here: does the follower know them?


class Look(msgspec.Struct, frozen=True):
    """Asks for the newest checkpoint of a lane."""

    stint: Stint


class Found(msgspec.Struct, frozen=True):
    """It, or nothing with number 0."""

    number: Mark
    checkpoint: Checkpoint | None = None


class Commit(msgspec.Struct, frozen=True):
    """Rows and their checkpoint, if the newest one is at `expected`. `settled` is the newest that the follower settled.

    `previous` is the row sent before the first of these, as in `Mra-Row`.
    """

    stint: Stint
    expected: Mark
    settled: Mark
    previous: Mark
    checkpoint: Checkpoint
    rows: list[Sent] = []


class Committed(msgspec.Struct, frozen=True):
    """Stored, under this number."""

    number: Mark


class Report(msgspec.Struct, frozen=True):
    """What a follower has settled, and how many rows wait, by lane."""

    stint: Stint
    settled: dict[Lane, Mark]
    waiting: dict[Lane, Mark]


class Noted(msgspec.Struct, frozen=True):
    """The report has been acted upon."""


class Refusal(msgspec.Struct, frozen=True):
    """No, and why. `kind` tells which error it is at the other end."""

    kind: str
    sentence: str


_KINDS: dict[str, type[MraError]] = {
    "moved": CheckpointMoved,
    "room": NoRoom,
    "large": TooManyRows,
    "rejected": Rejected,
    "fenced": Fenced,
    "input": BadInput,
    "later": Unavailable,
}


def encode(word: msgspec.Struct) -> bytes:
    """A word as it travels: a byte that says whether it is a refusal, then MessagePack."""
    return (b"-" if isinstance(word, Refusal) else b"+") + msgspec.msgpack.encode(word)


def decode(body: bytes, kind: type[T]) -> T:
    """The word of a request. Raises BadInput."""
    try:
        return msgspec.msgpack.decode(memoryview(body)[1:], type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BadInput(f"Nobody says this on a site's bus ({error}): install the same mra on all nodes.") from error


def answer(body: bytes, kind: type[T]) -> T:
    """The word of an answer. Raises the error that it stands for, LinkLost for one that cannot be read."""
    try:
        if body[:1] == b"-":
            raise meaning(decode(body, Refusal))
        return decode(body, kind)
    except BadInput as error:
        raise LinkLost(error.sentence) from error


def meaning(refusal: Refusal) -> MraError:
    """The error that a refusal stands for."""
    return _KINDS.get(refusal.kind, Unavailable)(refusal.sentence)


def refusal(error: MraError) -> Refusal:
    """How an error is told."""
    for name, kind in _KINDS.items():
        if type(error) is kind:
            return Refusal(name, error.sentence)
    return Refusal("room" if isinstance(error, Unavailable) else "rejected", error.sentence)


def rows_of(commit: Commit) -> list[Row]:
    """The rows as the digest takes them."""
    return [Row(sent.seq, sent.id, sent.subject, sent.headers, sent.body, 0, sent.wall) for sent in commit.rows]


def sent(rows: Sequence[Row]) -> list[Sent]:
    """Rows for a commit."""
    return [Sent(row.seq, row.id, row.subject, row.headers, row.body, row.wall) for row in rows]


def drafts(follower: str, lane: Lane, epoch: str, previous: int, rows: Sequence[Sent]) -> list[Draft]:
    """The rows of `follower` as records of the leader's lane. Raises Rejected for one that no node may send."""
    if not _EPOCH.fullmatch(epoch):  # it becomes part of a header that only the leader may write
        raise Rejected(f"{epoch[:40]!r} is no name of an epoch: use letters and digits.")
    made = []
    for row in rows:
        origin = f"{checkpoint_name(follower, lane)} {epoch} {row.seq} {previous}"
        draft = Draft(lane, row.subject, row.body, _headers(row.headers), id=row.id, origin=origin)
        try:
            check_draft(draft)
            wire_headers(draft.headers)
        except BadInput as error:
            raise Rejected(f"Row {row.seq} of {follower} can never be sent: {error.sentence}") from error
        made.append(draft)
        previous = row.seq
    return made


def _headers(lines: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (lines or "").split("\r\n"):
        name, colon, value = line.partition(":")
        if line and (not colon or name in found):
            raise Rejected(f"The header line {line[:60]!r} cannot be: it is none, or its name stands there twice.")
        if line:
            found[name] = value.removeprefix(" ")
    return found
