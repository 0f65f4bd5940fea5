"""The checks that need no plugin: is the agent there, is it connected, and what did goss find. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mra.machines.checks import Result, Status

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
    uptime: int = 0
    connected_server: str = ""
    last_message: int = 0
    stats: _Stats = msgspec.field(default_factory=_Stats)
    certificate_expires: datetime | None = None
    token_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatusLimits:
    """Seconds: the oldest file and last message, and the shortest rest of validity (0 for no matter)."""

    file_age: float
    last_message: float
    certificate: float = 0.0
    token: float = 0.0


def heartbeat(now: float) -> Result:
    """OK, with the Unix time as its output."""
    return Result(Status.OK, str(int(now)))


def agent_status(document: bytes, age: float, limits: StatusLimits, now: float) -> Result:
    """Whether the agent does its work, by the status file that it keeps (builtin `choria_status`).

    Args:
        document: the file's content.
        age: seconds since it was written.
        limits: what is still good.
        now: Unix time.
    """
    try:
        status = msgspec.json.decode(document, type=_AgentStatus)
    except (msgspec.DecodeError, RecursionError) as error:
        return Result(Status.CRITICAL, f"Status file error: {error}")
    fault = _fault(status, age, limits, now)
    numbers = _perfdata(status, now)
    if fault:
        return Result(Status.CRITICAL, f"CRITICAL: {fault}|{numbers}")
    return Result(Status.OK, f"OK: connected to {status.connected_server.replace('|', ' ')}|{numbers}")


def _fault(status: _AgentStatus, age: float, limits: StatusLimits, now: float) -> str:
    """The first thing that is wrong, in Choria's order; empty when all is well."""
    if age > limits.file_age:
        return f"the status file was written {age:.0f} s ago"
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
        "uptime": status.uptime,
        "filtered_msgs": stats.filtered,
        "invalid_msgs": stats.invalid,
        "passed_msgs": stats.passed,
        "replies_msgs": stats.replies,
        "total_msgs": stats.total,
        "ttlexpired_msgs": stats.ttlexpired,
        "last_msg": status.last_message,
        "cert_expire_seconds": _left(status.certificate_expires, now),
        "token_expire_seconds": _left(status.token_expires, now),
        "events": stats.events,
    }
    return " ".join(f"{name}={value};;" for name, value in numbers.items())


def goss_result(output: str) -> Result:
    """What `goss validate --format json` found: CRITICAL when a test failed, UNKNOWN when its report cannot be read."""
    try:
        report: Any = msgspec.json.decode(output[output.index("{") :].encode("utf-8", "replace"))
        summary = report["summary"]
        count, failed = int(summary["test-count"]), int(summary["failed-count"])
        seconds = int(summary["total-duration"]) / 1e9
    except (msgspec.DecodeError, RecursionError, ValueError, KeyError, TypeError, OverflowError):
        return Result(Status.UNKNOWN, f"UNKNOWN: goss gave no report: {output.strip()[:500].replace('|', ' ')}")
    line = str(summary.get(_SUMMED_UP) or f"Count: {count}, Failed: {failed}").replace("|", " ").strip()
    status = Status.CRITICAL if failed else Status.OK
    return Result(status, f"{status.name}: {line}|checks={count};; failed={failed};; runtime={seconds:f}s")
