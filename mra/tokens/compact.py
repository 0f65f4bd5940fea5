"""Signed tokens as text: `base64url(header).base64url(claims).base64url(signature)` (RFC 7515, compact)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from mra.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

LARGEST = 256 * 1024  # characters; an account with thousands of revocations stays below
LATEST = 253402300799  # the last second that RFC 3339 can write


class Parts(NamedTuple):
    """A token taken apart; nothing about it is proven yet."""

    algorithm: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def split(token: str | bytes, what: str) -> Parts:
    """Take a token apart. `what` names it in the sentence. Raises Refused, whatever the bytes are."""
    text = _text(token, what)
    pieces = text.split(".")
    if len(pieces) != 3:
        raise Refused(f"This {what} is no signed token: it has {len(pieces)} parts instead of three.")
    header, claims, signature = (_decode_base64(piece, what) for piece in pieces)
    algorithm = _decode_json(header, what).get("alg")
    if not isinstance(algorithm, str):
        raise Refused(f"This {what} names no algorithm: ask its issuer for another.")
    return Parts(algorithm, _decode_json(claims, what), text.rpartition(".")[0].encode(), signature)


def join(header: Mapping[str, str], claims: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A signed token of `claims`, which are JSON already."""
    signed = b".".join((_encode_base64(msgspec.json.encode(header)), _encode_base64(claims)))
    return b".".join((signed, _encode_base64(sign(signed)))).decode()


def read(claims: Mapping[str, Any], type_: type[T], what: str) -> T:
    """The claims as a type. Raises Refused, naming the claim that does not fit."""
    try:
        return msgspec.convert(claims, type_, strict=True)
    except (msgspec.ValidationError, ValueError, RecursionError, OverflowError) as error:
        raise Refused(f"This {what} has a wrong claim ({error}): ask its issuer for another.") from None


def check_window(what: str, now: float, *, not_before: int | None, expires: int | None) -> None:
    """Raises Refused outside the validity, without leeway; a token without end never expires."""
    if not_before is not None and now < not_before:
        raise Refused(f"This {what} is not valid yet: check the clock, or wait.")
    if expires is not None and now >= expires:
        raise Refused(f"This {what} has expired: ask its issuer for another.")


def _text(token: str | bytes, what: str) -> str:
    if len(token) > LARGEST:
        raise Refused(f"This {what} is longer than {LARGEST} characters: it is something else.")
    try:
        text = token.decode("ascii") if isinstance(token, bytes) else token.encode("ascii").decode()
    except UnicodeError:
        raise Refused(f"This {what} is no token: it holds other characters than those of base64.") from None
    return text.strip()


def _encode_base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode_base64(piece: str, what: str) -> bytes:
    try:
        data = base64.b64decode(piece + "=" * (-len(piece) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _encode_base64(data) != piece.encode():  # other texts of the same bytes are refused too
        raise Refused(f"This {what} is damaged: one of its parts is no base64url text.")
    return data


def _decode_json(data: bytes, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        raise Refused(f"This {what} is damaged: one of its parts is no JSON object.") from None
    return found
