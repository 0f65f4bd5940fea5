"""What a node may call itself, and what it is called where only one word of a subject fits. Pure."""

from __future__ import annotations

import hashlib
import re

from mra.errors import BadInput

LONGEST_IDENTITY = 255
_IDENTITY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_KEPT = 55  # of a name whose end is a digest


def check_identity(text: str) -> str:
    """`text`, if a node may call itself so: a host name, in the widest sense. Raises BadInput."""
    if len(text) > LONGEST_IDENTITY or not _IDENTITY.fullmatch(text):
        raise BadInput(
            f"A node cannot be called {text[:60]!r}: use at most {LONGEST_IDENTITY} letters, digits, dashes and "
            "underscores, with dots between them."
        )
    return text


def safe_name(identity: str) -> str:
    """The name of a node where dots may not stand: in subjects, checkpoints and NATS users.

    An identity that fits stays as it is. Any other gets a digest, so that `a.b` and `a-b` do not meet; the provisioner
    refuses the second of two nodes of one customer that would share a name all the same.
    """
    check_identity(identity)
    if _NAME.fullmatch(identity):
        return identity
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{identity[:_KEPT].replace('.', '-')}-{digest}"
