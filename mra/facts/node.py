"""The `machine_room` block: what the agent says of itself, and what its builder adds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import trio

from mra.events import rfc3339
from mra.facts.cleaning import clean, reason

if TYPE_CHECKING:
    from pathlib import Path

    from mra.facts.cleaning import Json
    from mra.facts.settings import Hook, NodeSettings

_LONGEST_TOKEN = 64 * 1024


def node_block(identity: str, node: NodeSettings, wall_ns: int, problems: dict[str, str]) -> dict[str, Any]:
    """The block without `additional_facts` and `problems`. Blocking: reads the tokens."""
    server: dict[str, Json] = {"public_key": node.public_key, "public_nkey": node.public_nkey}
    provisioning: dict[str, Json] = {
        "extended_claims": clean(node.extended_claims, "machine_room.provisioning.extended_claims", problems)
    }
    for block, name, token in (
        (server, "server", node.server_token),
        (provisioning, "provisioning", node.provisioning_token),
    ):
        if print_ := _fingerprint(token, f"machine_room.{name}.token_fingerprint", problems):
            block["token_fingerprint"] = print_
    return {
        "identity": identity,
        "timestamp": rfc3339(wall_ns),
        "timestamp_seconds": wall_ns // 1_000_000_000,
        "server": server,
        "options": clean(node.options, "machine_room.options", problems),
        "provisioning": provisioning,
    }


def _fingerprint(token: Path | None, where: str, problems: dict[str, str]) -> str | None:
    """`sha256:<hex>` of a token's text; None without a token, which is normal before enrolment."""
    if token is None:
        return None
    try:
        with token.open("rb") as file:
            text = file.read(_LONGEST_TOKEN).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        problems[where] = reason(f"{token} cannot be read: {error.strerror}")
        return None
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


async def ask_hook(hook: Hook | None, seconds: float, problems: dict[str, str]) -> Json:
    """The builder's facts, or null and a reason. Raises nothing but cancellation of the caller."""
    if hook is None:
        return None
    where = "machine_room.additional_facts"
    try:
        with trio.move_on_after(seconds):
            found = cast("object", await hook())  # other people's code: its type is a hope
            if not isinstance(found, Mapping):
                problems[where] = f"the hook returned a {type(found).__name__}, not a mapping of names to facts"
                return None
            return clean(found, where, problems)
    except (Exception, SystemExit) as error:
        problems[where] = reason(f"the hook failed with {type(error).__name__}: {error}")
        return None
    problems[where] = f"the hook gave no answer within {seconds:g} s"
    return None
