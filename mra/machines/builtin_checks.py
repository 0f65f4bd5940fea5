"""The checks that need no plugin: is the agent there, is it connected, and what did goss find. (pure)"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mra.machines.checks import Result, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUMMED_UP: Final = "summary-line"
_FAR: Final = 2**63 - 1  # seconds until something expires that does not expire


class _Stats(msgspec.Struct):
    total: int = 0
    invalid: int = 0
    passed: int = 0
    filtered: int = 0
    replies: int = 0
    ttlexpired: int = 0
    events: int = 0


class _AgentStatus(msgspec.Struct):
    """The keys of Choria's status file that count here."""

    uptime: float = 0
    connected_server: str = ""
    last_message: float = 0
    stats: _Stats = msgspec.field(default_factory=_Stats)
    certificate_expires: datetime | None = None
    token_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatusLimits:
    """Seconds: the oldest last message, and the shortest rest of validity (0 for no matter)."""

    last_message: float
    certificate: float = 0.0
    token: float = 0.0


def heartbeat(now: float) -> Result:
    """OK, with the Unix time as its output."""
    return Result(Status.OK, str(int(now)))


def agent_status(document: Mapping[str, Any], limits: StatusLimits, now: float) -> Result:
    """Whether the agent does its work (builtin `choria_status`).

    Args:
        document: the agent's status: keys as in Choria's status file, or `uptime` and `link` as in `mra status`.
        limits: what is still good.
        now: Unix time.
    """
    if not document:
        return Result(Status.UNKNOWN, "Status file not configured")
    try:
        status = msgspec.convert(_with_link(document, now), _AgentStatus, strict=False)
    except msgspec.ValidationError as error:
        return Result(Status.CRITICAL, f"Status file error: {error}")
    fault = _fault(status, limits, now)
    numbers = _perfdata(status, now)
    if fault:
        return Result(Status.CRITICAL, f"CRITICAL: {fault}|{numbers}")
    return Result(Status.OK, f"OK: connected to {status.connected_server.replace('|', ' ')}|{numbers}")


def _with_link(document: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The status with what the state of the link says: a link that stands is heard every few seconds."""
    link = document.get("link")
    if not isinstance(link, dict):
        return dict(document)
    connected = link.get("state") == "connected"
    silent = link.get("for")
    heard = now if connected else now - silent if isinstance(silent, int | float) else 0
    return {
        "connected_server": (link.get("server") or "the SaaS") if connected else "",
        "last_message": heard,
        **document,
    }


def _fault(status: _AgentStatus, limits: StatusLimits, now: float) -> str:
    """The first thing that is wrong, in Choria's order; empty when all is well."""
    for what, expires, rest in (
        ("certificate", status.certificate_expires, limits.certificate),
        ("token", status.token_expires, limits.token),
    ):
        if rest and _left(expires, now) < rest:
            return f"the {what} expires in {_left(expires, now)} s"
    never_yet = status.last_message == 0 and status.uptime < limits.last_message
    if not never_yet and now - status.last_message > limits.last_message:
        return f"the last message came {now - status.last_message:.0f} s ago"
    return "" if status.connected_server else "not connected to any server"


def _left(expires: datetime | None, now: float) -> int:
    if expires is None or expires.year == 1:  # Go's zero time
        return _FAR
    return int((expires if expires.tzinfo else expires.replace(tzinfo=UTC)).timestamp() - now)


def _perfdata(status: _AgentStatus, now: float) -> str:
    stats = status.stats
    numbers = {
        "uptime": int(status.uptime),
        "filtered_msgs": stats.filtered,
        "invalid_msgs": stats.invalid,
        "passed_msgs": stats.passed,
        "replies_msgs": stats.replies,
        "total_msgs": stats.total,
        "ttlexpired_msgs": stats.ttlexpired,
        "last_msg": int(status.last_message),
        "cert_expire_seconds": _left(status.certificate_expires, now),
        "token_expire_seconds": _left(status.token_expires, now),
        "events": stats.events,
    }
    return " ".join(f"{name}={value};;" for name, value in numbers.items())


def goss_result(output: str) -> Result:
    """What `goss validate --format json` found: CRITICAL when a test failed, UNKNOWN when its report cannot be read."""
    try:
        report, _ = json.JSONDecoder().raw_decode(output, output.index("{"))
        summary = report["summary"]
        count, failed = int(summary["test-count"]), int(summary["failed-count"])
        seconds = int(summary["total-duration"]) / 1e9
    except (RecursionError, ValueError, KeyError, TypeError, OverflowError):
        return Result(Status.UNKNOWN, f"UNKNOWN: goss gave no report: {output.strip()[:500].replace('|', ' ')}")
    line = str(summary.get(_SUMMED_UP) or f"Count: {count}, Failed: {failed}").replace("|", " ").strip()
    status = Status.CRITICAL if failed else Status.OK
    return Result(status, f"{status.name}: {line}|checks={count};; failed={failed};; runtime={seconds:f}s")
