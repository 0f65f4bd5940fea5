"""The outbox's own clock: nanoseconds of host uptime that the outbox has seen.

It moves with `CLOCK_BOOTTIME` within a boot and stands still across reboots, so neither a stepped wall clock nor a
battery-less host that boots in 1970 can make a row look old. Time that the host was switched off does not age rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mra.clock import Stamp
    from mra.outbox.sqlite import Connection


class Boot(NamedTuple):
    """One boot of the host, and where the outbox's own clock stands in it."""

    no: int
    offset: int  # own clock minus CLOCK_BOOTTIME

    def elapsed(self, stamp: Stamp) -> int:
        """The outbox's own clock at a stamp of this boot."""
        return self.offset + stamp.mono


def boot_of(connection: Connection, stamp: Stamp) -> Boot:
    """The stamp's boot; one that is seen for the first time goes on where the last one was seen."""
    row = connection.execute("SELECT no, elapsed - mono_from FROM boot WHERE boot_id = ?", (stamp.boot_id,)).fetchone()
    if row:
        return Boot(*row)
    elapsed = _last_seen(connection)
    cursor = connection.execute(
        "INSERT INTO boot (boot_id, elapsed, mono_from, mono_last) VALUES (?, ?, ?, ?)",
        (stamp.boot_id, elapsed, stamp.mono, stamp.mono),
    )
    return Boot(int(cursor.lastrowid or 0), elapsed - stamp.mono)


def _last_seen(connection: Connection) -> int:
    """The own clock when the host was last seen running."""
    row = connection.execute("SELECT elapsed + mono_last - mono_from FROM boot ORDER BY no DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def touch(connection: Connection, stamp: Stamp) -> None:
    """Remember that the host was still running at `stamp`."""
    no = boot_of(connection, stamp).no
    connection.execute("UPDATE boot SET mono_last = max(mono_last, ?) WHERE no = ?", (stamp.mono, no))


class Elapsed:
    """Converts (boot, mono) pairs into one age scale, as of one transaction."""

    def __init__(self, connection: Connection, stamp: Stamp) -> None:
        rows = connection.execute("SELECT no, elapsed - mono_from, boot_id FROM boot").fetchall()
        self._offsets: dict[int, int] = {no: offset for no, offset, _ in rows}
        here = [offset for _, offset, boot_id in rows if boot_id == stamp.boot_id]
        self.now: int = here[0] + stamp.mono if here else _last_seen(connection)

    def age(self, boot: int, mono: int) -> int:
        """Nanoseconds since that moment; never negative, and 0 for a boot that is not known."""
        offset = self._offsets.get(boot)
        return 0 if offset is None else max(0, self.now - offset - mono)
