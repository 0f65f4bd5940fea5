"""What a submission is, what makes it valid, and the record it becomes. Pure.

Subjects, priorities and header names are Choria's (go-choria `submission/`), so that consumers at the SaaS read both
agents' submissions alike. Two of its properties mean less here:

* `priority` is carried, and orders nothing: all submissions of an agent share one lane, in the order of acceptance.
* `tries` is carried nowhere: no number of failed attempts makes the agent give up; only `ttl` does.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.outbox.record import Draft, Lane, check_subject, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY: Final = 86400.0
LONGEST_TTL: Final = 31 * DAY
LOWEST_PRIORITY: Final = 4
MOST_HEADERS: Final = 64
MOST_HEADER_BYTES: Final = 8 * 1024
LONGEST_ID: Final = 128
MAX_PAYLOAD: Final = 1024 * 1024 - 2 * MOST_HEADER_BYTES
"""Bytes that pass a server with its default `max_payload` of 1 MiB, which counts headers too."""

_HEADER_NAME = re.compile(r"[!-9;-~]{1,128}")  # printable ASCII without the colon
_RESERVED: Final = ("choria", "nats", "mra")


@dataclass(frozen=True, slots=True)
class Submission:
    """One record for the SaaS.

    Attributes:
        subject: dotted words, relative to the site: `app.metrics`.
        payload: at least one byte.
        reliable: tells consumers that the sender counts on delivery; the agent delivers all of them.
        ttl: seconds of host uptime after which it is shed instead of delivered; None for never.
        priority: 0 (first) to 4, for consumers.
        tries: for compatibility; see the module.
        headers: further headers. Names that begin with choria, nats or mra are the agent's.
        sender: who submits. The intake overrides it with what the kernel says.
        id: the same id is accepted once.
    """

    subject: str
    payload: bytes
    reliable: bool = False
    ttl: float | None = None
    priority: int = LOWEST_PRIORITY
    tries: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    sender: str | None = None
    id: str = field(default_factory=new_id)


def draft_of(
    submission: Submission, *, identity: str, sender: str, scope: str, wall_ns: int, max_payload: int = MAX_PAYLOAD
) -> Draft:
    """The record for lane `submissions`. Raises BadInput, in one sentence, for the first thing that is wrong.

    Args:
        submission: what was handed in.
        identity: name of this node; the submitter has no say in it.
        sender: who submits, as the agent knows it; goes before `submission.sender`, which is ignored.
        scope: ids are unique within it: different submitters have different scopes.
        wall_ns: time of acceptance.
        max_payload: bytes that the SaaS takes.
    """
    check(submission, max_payload)
    headers = {
        **submission.headers,
        "Choria-Priority": str(submission.priority),
        "Choria-Created": str(wall_ns),
        "Choria-Sender": sender,
        "Choria-Identity": identity,
    }
    if submission.reliable:
        headers["Choria-Reliable"] = "1"
    id_ = scoped_id(scope, submission.id)
    return Draft(Lane.SUBMISSIONS, submission.subject, submission.payload, headers, id=id_, ttl=submission.ttl)


def scoped_id(scope: str, id_: str) -> str:
    """The record's name: as long as a random one, and the same whenever the same submitter says the same id.

    Hashing keeps submitters apart: an id that another program is about to use can be guessed, and not taken.
    """
    return hashlib.sha256(f"{scope}\0{id_}".encode()).hexdigest()[:32]


def check(submission: Submission, max_payload: int = MAX_PAYLOAD) -> None:
    """Raise BadInput, in one sentence, for the first thing that is wrong with a submission."""
    check_subject(submission.subject)
    if not submission.payload:
        raise BadInput("The payload is empty: submit at least one byte.")
    if len(submission.payload) > max_payload:
        raise BadInput(f"The payload has {len(submission.payload)} bytes: submit {max_payload} or fewer.")
    if not 0 <= submission.priority <= LOWEST_PRIORITY:
        raise BadInput(f"Priority {submission.priority} does not exist: use 0 to {LOWEST_PRIORITY}.")
    if submission.ttl is not None and not (math.isfinite(submission.ttl) and 0 < submission.ttl <= LONGEST_TTL):
        raise BadInput(
            f"A ttl of {submission.ttl:g} s is not possible: use more than 0 and at most {LONGEST_TTL:.0f} s."
        )
    if submission.tries is not None and submission.tries < 1:
        raise BadInput(f"{submission.tries} tries would never send it: use 1 or more, or leave tries out.")
    if not (0 < len(submission.id) <= LONGEST_ID and submission.id.isascii() and submission.id.isprintable()):
        raise BadInput(f"Id {submission.id[:40]!r} is not possible: use 1 to {LONGEST_ID} printable ASCII characters.")
    _check_headers(submission.headers)


def _check_headers(headers: Mapping[str, str]) -> None:
    if len(headers) > MOST_HEADERS:
        raise BadInput(f"There are {len(headers)} headers: use {MOST_HEADERS} or fewer.")
    seen: dict[str, str] = {}
    size = 0
    for name, value in headers.items():
        _check_header(name, value)
        if twin := seen.get(name.lower()):
            raise BadInput(f"Headers {twin} and {name} differ in case only: keep one of them.")
        seen[name.lower()] = name
        size += len(name) + len(value.encode())
    if size > MOST_HEADER_BYTES:
        raise BadInput(f"The headers have {size} bytes: use {MOST_HEADER_BYTES} or fewer.")


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise BadInput(f"Header name {name[:40]!r} is not possible: use printable ASCII without spaces and colons.")
    if name.lower().startswith(_RESERVED):
        raise BadInput(f"Header {name} is reserved: choose a name that does not begin with choria, nats or mra.")
    # Clients split headers at more than CR and LF: U+0085 and U+2028 are line ends to Python's.
    if value and not value.isprintable():
        raise BadInput(f"The value of header {name} holds a line break or control character: remove it.")
    if value != value.strip():
        raise BadInput(f"The value of header {name} begins or ends with a space, which would be lost: remove it.")
