"""What went wrong, named for what the caller can do about it.

    MraError
    |- Unavailable      try again later: nothing is wrong with what was asked
    |  |- LinkLost        the SaaS did not answer, or answered that it cannot now
    |  |- OutboxFull      a lane, the file or the disk has no room; nothing was accepted
    |  |- StoreBroken     the database answered with an error; reopen it, then look again
    |  `- Busy            another process holds what is needed
    `- Refused          asking again is useless: what was asked has to change
       |- BadInput        a command, file or message that a person or program got wrong
       |- Rejected        the SaaS will never take this message; its row is parked
       |- Misconfigured   the SaaS, not the message, is set up wrongly; the lane waits for an operator
       `- Fenced          another agent writes under this name; going on would store rows twice

Every message is one sentence that says what, where and what to do; it is what the operator sees.
"""

from __future__ import annotations

from typing import Final

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RETRY = 75  # EX_TEMPFAIL of sysexits(3): a caller's retry loop can tell it from a real failure
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell puts it
EXIT_UNREAD = 141  # 128 + SIGPIPE: whoever read the output went away before its end


_LONGEST_QUOTE: Final = 120  # characters of a wrong value that a sentence repeats


def quoted(value: object) -> str:
    """A wrong value as a sentence shows it: in quotes when it is text, on one line, and not at any length."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_QUOTE:
        return "a number without end"  # repr() refuses thousands of digits
    text = repr(value[: _LONGEST_QUOTE + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}..."


class MraError(Exception):
    """Root of all errors that `mra` raises on purpose."""

    exit_code = EXIT_FAILED

    @property
    def sentence(self) -> str:
        """The one sentence for the operator."""
        return str(self)


class Unavailable(MraError):
    """Not now; trying the same again later makes sense."""

    exit_code = EXIT_RETRY


class LinkLost(Unavailable):
    """The SaaS is out of reach, or its answer is unclear: what was sent may or may not be stored."""


class OutboxFull(Unavailable):
    """There is no room for the record; it was not accepted."""


class StoreBroken(Unavailable):
    """SQLite reported an error; the transaction was rolled back or its outcome is unknown."""


class Busy(Unavailable):
    """Another process holds the lock that is needed."""


class Refused(MraError):
    """Never; the same request would be refused again."""


class BadInput(Refused):
    """A command line, file or message is wrong."""

    exit_code = EXIT_USAGE


class Rejected(Refused):
    """The SaaS refuses this message for good (too large, bad subject, bad header)."""


class Misconfigured(Refused):
    """The SaaS refuses every message for a reason that only its operator can change."""


class Fenced(Refused):
    """The lane's checkpoint belongs to another writer with the same name."""
