"""Slots in memory, on the clock of the test: one place that keeps them, and a way to it for each agent."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import trio

from mra.errors import LinkLost
from mra.governors.slots import EVICTOR, Capacity, Slot
from mra.uplink.answers import CheckpointMoved

PATIENCE = 10.0  # s until a missing answer counts as lost


@dataclass
class Table:
    """Keeps slots as the SaaS does: leases that end by its own clock, and changes by compare-and-swap."""

    lease: int = 60
    slots: int = 1
    haste: float = 1.0  # how much faster its clock runs than that of the agents
    sequence: int = 0
    kept: dict[tuple[str, int], tuple[Slot, float]] = field(default_factory=dict)

    def look(self, governor: str, number: int) -> Slot | None:
        slot, ends = self.kept.get((governor, number), (None, 0.0))
        return slot if trio.current_time() < ends else None

    def put(self, governor: str, number: int, body: bytes, owner: str, lease: int, expected: int) -> int:
        seen = self.look(governor, number)
        if (seen.sequence if seen else 0) != expected:
            raise CheckpointMoved("Somebody was faster.")
        self.sequence += 1
        slot = Slot(number, self.sequence, owner if body else "", body.decode(), "", lease, owner == EVICTOR)
        self.kept[governor, number] = slot, trio.current_time() + lease / self.haste
        return self.sequence

    def holder(self, governor: str = "PUMP", number: int = 0) -> str:
        slot = self.look(governor, number)
        return slot.holder if slot and slot.owner else ""

    def evict(self, governor: str = "PUMP", number: int = 0) -> None:
        if slot := self.look(governor, number):
            self.put(governor, number, b"", EVICTOR, slot.lease, slot.sequence)


class Way:
    """One agent's way to the table; the `Slots` of its governors. Messages take their time, and may stay away."""

    def __init__(self, table: Table, dice: random.Random | None = None, slowest: float = 0.0) -> None:
        self.table, self.slowest = table, slowest
        self.dice = dice or random.Random(1)
        self.mute = self.deaf = False  # questions do not arrive; answers do not
        self.changes = 0

    def cut(self) -> None:
        self.mute = self.deaf = True

    def mend(self) -> None:
        self.mute = self.deaf = False

    async def capacity(self, governor: str) -> Capacity:
        return await self._ask(lambda: Capacity(self.table.slots, self.table.lease))

    async def look(self, governor: str, number: int) -> Slot | None:
        return await self._ask(lambda: self.table.look(governor, number))

    async def put(self, governor: str, number: int, body: bytes, *, owner: str, lease: int, expected: int) -> int:
        self.changes += 1
        return await self._ask(lambda: self.table.put(governor, number, body, owner, lease, expected))

    async def _ask(self, question):
        """A question that arrives, and an answer that does, unless one of them is lost; a late one may still act."""
        answers, inbox = trio.open_memory_channel(1)
        trio.lowlevel.spawn_system_task(self._carry, question, answers)
        with trio.move_on_after(PATIENCE):
            answer = await inbox.receive()
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise LinkLost("No answer from the table.")

    async def _carry(self, question, answers):
        await trio.sleep(self.dice.uniform(0, self.slowest))
        if self.mute:
            return
        try:
            answer = question()
        except CheckpointMoved as moved:
            answer = moved
        await trio.sleep(self.dice.uniform(0, self.slowest))
        if not self.deaf:
            answers.send_nowait(answer)
