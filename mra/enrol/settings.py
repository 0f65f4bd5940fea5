"""Where a node keeps what enrolment needs and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class EnrolSettings:
    """Where a node keeps what enrolment needs and gives. Times are seconds.

    Attributes:
        directory: for keys and the enrolment; made with mode 0700.
        token: the provisioning token; need not exist once the node is enrolled.
        ca: PEM file of who vouches for the SaaS's server, when it is not the token that says so.
        retry_first, retry_cap: bounds of the pause between two attempts.
    """

    directory: Path
    token: Path
    identity: str
    ca: Path | None = None
    retry_first: float = 0.5
    retry_cap: float = 30.0
