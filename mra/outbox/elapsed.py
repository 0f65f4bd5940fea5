"""The outbox's own clock: nanoseconds of host uptime that the outbox has seen.

It moves with `CLOCK_BOOTTIME` within a boot and stands still across reboots, so neither a stepped wall clock nor a
battery-less host that boots in 1970 can make a row look old. Time that the host was switched off does not age rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mra.clock import Stamp
    from mra.outbox.sqlite import Connection


def boot_number(connection: Connection, stamp: Stamp) -> int:
    """Number of the stamp's boot; a boot seen for the first time goes on where the last one was seen."""
    row = connection.execute("SELECT no FROM boot WHERE boot_id = ?", (stamp.boot_id,)).fetchone()
    if row:
        return int(row[0])
    last = connection.execute("SELECT elapsed + mono_last - mono_from FROM boot ORDER BY no DESC LIMIT 1").fetchone()
    cursor = connection.execute(
        "INSERT INTO boot (boot_id, elapsed, mono_from, mono_last) VALUES (?, ?, ?, ?) RETURNING no",
        (stamp.boot_id, last[0] if last else 0, stamp.mono, stamp.mono),
    )
    return int(cursor.fetchall()[0][0])


def touch(connection: Connection, stamp: Stamp) -> None:
    """Remember that the host was still running at `stamp`."""
    no = boot_number(connection, stamp)
    connection.execute("UPDATE boot SET mono_last = max(mono_last, ?) WHERE no = ?", (stamp.mono, no))


class Elapsed:
    """Converts (boot, mono) pairs into one age scale, as of one transaction."""

    def __init__(self, connection: Connection, stamp: Stamp) -> None:
        rows = connection.execute("SELECT no, elapsed, mono_from, boot_id FROM boot").fetchall()
        self._boots: dict[int, int] = {no: elapsed - mono_from for no, elapsed, mono_from, _ in rows}
        here = [no for no, _, _, boot_id in rows if boot_id == stamp.boot_id]
        self.now: int = self._boots[here[0]] + stamp.mono if here else 0

    def age(self, boot: int, mono: int) -> int:
        """Nanoseconds since that moment; never negative."""
        return max(0, self.now - (self._boots.get(boot, self.now - mono) + mono))
