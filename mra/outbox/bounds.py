"""How much may wait: bounds of a lane and of the file, and what gives way before a record is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mra.errors import BadInput, OutboxFull
from mra.outbox import shedding
from mra.outbox.policy import Overflow
from mra.outbox.sqlite import PAGE_SIZE
from mra.outbox.upkeep import prune_replay

if TYPE_CHECKING:
    from mra.clock import Stamp
    from mra.outbox.lanes import LaneState
    from mra.outbox.policy import OutboxSettings
    from mra.outbox.sqlite import Connection

_RESERVE = 0.05  # share of the file kept for settling and pruning, so that a full outbox can still drain
_SLACK = 64 * 1024  # freed beyond need, so that a lane at its bound does not shed row by row


def room_in_file(connection: Connection, settings: OutboxSettings) -> int:
    """Bytes that rows may still take, by the real size of the file."""
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return int(settings.max_bytes * (1 - _RESERVE)) - (pages - free) * PAGE_SIZE


def footprint(size: int) -> int:
    """Bytes of pages that rows of `size` bytes may take: at worst a page holds one row and half a page of nothing."""
    return 2 * size


class Bounds(NamedTuple):
    """The bounds as they are during one transaction, begun at `stamp`."""

    connection: Connection
    settings: OutboxSettings
    stamp: Stamp

    def room(self) -> int:
        """Bytes that rows may still take in the file."""
        return room_in_file(self.connection, self.settings)

    def reclaim(self, needed: int) -> None:
        """Give up the replay window, down to its shortest, before any waiting row is touched."""
        while (lack := needed - self.room()) > 0:
            if not prune_replay(self.connection, self.settings, self.stamp, needed=lack):
                return

    def make_room(self, state: LaneState, size: int, needed: int, keys: set[str]) -> None:
        """Free what `size` bytes of rows lack in a lane, and `needed` bytes in the file, as the lane's policy says.

        `keys` are those of the rows to come. Raises OutboxFull when the policy frees too little, BadInput for more
        bytes than the lane can ever hold.
        """
        policy, wall = self.settings.lanes[state.name], self.stamp.wall
        if size > policy.max_bytes:
            raise BadInput(
                f"{size} bytes at once never fit lane {state.name}, whose max_bytes is {policy.max_bytes}: send less at"
                " once, or raise the limit."
            )

        def missing() -> int:
            return max(state.waiting_bytes + size - policy.max_bytes, needed - self.room())

        if policy.overflow is Overflow.NEWEST_PER_KEY and missing() > 0:
            shedding.supersede(self.connection, state, dict.fromkeys(keys, state.next_seq), wall)
        if policy.overflow is Overflow.THIN:
            # Rows taken out one by one leave half-empty pages: this helps the lane's bound, not the file's.
            shedding.thin(self.connection, state, state.waiting_bytes + size - policy.max_bytes, wall)
        if policy.overflow is not Overflow.REJECT:
            slack = min(_SLACK, policy.max_bytes // 64)
            while 0 < (lack := missing()) <= state.waiting_bytes:
                if not shedding.drop_oldest(self.connection, state, lack + slack, wall):
                    break
        state.save(self.connection)
        if state.waiting_bytes + size > policy.max_bytes:
            raise OutboxFull(
                f"Lane {state.name} is full ({state.waiting_bytes >> 10} KiB wait): wait until it drains, or raise"
                f" lanes.{state.name}.max_bytes."
            )
        if needed > self.room():
            raise OutboxFull(
                f"The outbox is full, and lane {state.name} has too little to give up: wait until it drains, or raise"
                " outbox.max_bytes."
            )
