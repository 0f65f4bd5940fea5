"""Credentials files of NATS: a user's token and its seed in one text, as `nats` and other clients read them."""

from __future__ import annotations

import re
from typing import NamedTuple

from mra.errors import Refused
from mra.tokens.nkey import KeyPair, Kind

_PART = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+(\S+)\s+-{3,}END \1-{3,}", re.ASCII)
_LARGEST = 512 * 1024


class Credentials(NamedTuple):
    """Who connects."""

    token: str
    key: KeyPair


def compose(token: str, key: KeyPair) -> str:
    """The text of a credentials file. It holds a secret: give the file mode 0600."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "The seed below proves who connects: whoever has it is this user.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{key.seed}\n------END USER NKEY SEED------\n"
    )


def parse(text: str) -> Credentials:
    """What a credentials file holds; the token is not judged. Raises Refused, without repeating the text."""
    parts: dict[str, str] = dict(_PART.findall(text)) if len(text) <= _LARGEST else {}
    try:
        token, seed = parts["NATS USER JWT"], parts["USER NKEY SEED"]
    except KeyError:
        raise Refused("This is no NATS credentials file: it holds a user JWT and a user's nkey seed.") from None
    key = KeyPair.from_seed(seed)
    if key.kind is not Kind.USER:
        raise Refused(f"This credentials file holds the seed of an {key.kind.name.lower()}, not of a user.")
    return Credentials(token, key)
