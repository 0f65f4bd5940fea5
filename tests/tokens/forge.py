"""Tokens as an attacker writes them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: Any, claims: Any, sign: Callable[[bytes], bytes] = lambda _: bytes(64)) -> str:
    """Header and claims as bytes, or anything that JSON can write."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    text = ".".join(map(encode, parts))
    return f"{text}.{encode(sign(text.encode()))}"


def damage(token: str, what: int, where: int, character: str) -> str:
    """Change, remove or insert one character."""
    place = where % len(token)
    return token[:place] + (character if what else "") + token[place + (what < 2) :]


FUZZ = settings(deadline=None)  # a busy machine is no failure
DAMAGES = (st.integers(0, 2), st.integers(0, 5000), st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DEEP = b'{"a":' * 200_000
HUGE = b'{"exp":' + b"9" * 5_000 + b"}"
