"""Where an archive comes from, checked before anything connects. (pure)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

from mra.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST_TIMEOUT = 5.0
LONGEST_ADDRESS = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """One download: an address, what opens it and how patient to be.

    `timeout` bounds each read and write in seconds, and, beside what looking up the name takes, the connect; not their
    sum: a slow but steady link may be slow. Values under five seconds are raised to five, as in section 3.4 of the
    reference. With `ca_file` only its authorities are trusted; those of `extra_ca` are trusted beside the system's.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = SHORTEST_TIMEOUT
    insecure: bool = False
    ca_file: Path | None = None
    extra_ca: Path | None = None

    def __post_init__(self) -> None:
        web_address(self.url)
        if self.username and not self.password:
            raise BadInput(f"username for {self.shown} comes without a password; give both or neither")
        if not self.timeout >= SHORTEST_TIMEOUT:
            object.__setattr__(self, "timeout", SHORTEST_TIMEOUT)

    @property
    def shown(self) -> str:
        """The address as it may be logged: without user name and password."""
        return without_credentials(self.url)


def web_address(text: str) -> SplitResult:
    """Split an http or https address.

    Raises:
        BadInput: it is no such address, or holds characters that have no place in one.
    """
    if len(text) > LONGEST_ADDRESS:
        raise BadInput(f"source has {len(text)} characters; at most {LONGEST_ADDRESS} are accepted")
    if not text.isprintable() or " " in text:
        raise BadInput(f"source {text!r} holds spaces or control characters; percent-encode them")
    try:
        address = urlsplit(text)
        _ = address.port  # parsed only when asked for
    except ValueError as cause:
        raise BadInput(f"source {text!r} is no address ({cause}); give an http or https address") from cause
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise BadInput(f"source {without_credentials(text)!r} is no http or https address with a host")
    return address


def without_credentials(url: str) -> str:
    """The address without user name and password, for events, logs and errors; never raises."""
    try:
        address = urlsplit(url)
    except ValueError:
        return "(unreadable address)"
    return urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))
