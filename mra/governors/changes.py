"""Takes a slot, and changes one that is held: compare-and-swap, and what an answer that never came may have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from mra.governors.holding import Holding
from mra.governors.slots import slot_body
from mra.uplink.answers import CheckpointMoved

if TYPE_CHECKING:
    import random

    from mra.governors.holding import Claim
    from mra.governors.register import Slots
    from mra.governors.slots import Slot

MOST_LOOKS: Final = 16  # slots looked at per attempt, so that waiting for a wide governor stays cheap


async def take(register: Slots, claim: Claim, dice: random.Random) -> Holding | None:
    """Take a slot, if one is free. Those that an earlier attempt may have taken are looked at first.

    One of them that is the claim's is taken again: nobody here knows how long its lease still lasts.
    """
    governor = claim.governor
    slots, lease = await register.capacity(governor)
    claim.rivals.clear()
    drawn = dice.sample(range(slots), min(slots, MOST_LOOKS))
    for number in dict.fromkeys([*claim.doubtful, *drawn]):
        seen = await register.look(governor, number)
        claim.doubtful.pop(number, None)
        if not _may_take(claim, number, seen, slots):
            continue
        claim.doubtful[number] = lease
        expected = seen.sequence if seen else 0
        body = slot_body(claim.holder)
        asked_at = trio.current_time()
        try:
            sequence = await register.put(governor, number, body, owner=claim.id, lease=lease, expected=expected)
        except CheckpointMoved:
            del claim.doubtful[number]
            continue
        del claim.doubtful[number]
        return Holding.of(claim, number, lease, sequence, asked_at)
    return None


def _may_take(claim: Claim, number: int, seen: Slot | None, slots: int) -> bool:
    """Whether a slot is the claim's already, or free. A seat that was freed by force is free when its lease has ended:
    its holder learns of the eviction only when it renews.
    """
    if seen is not None and seen.owner == claim.id:
        return True
    if seen is not None and seen.owner:
        claim.rivals.append(seen.holder)
        return False
    return number < slots and not (claim.is_seat and seen is not None and seen.evicted)


async def change(register: Slots, holding: Holding, body: bytes) -> bool:
    """Change a slot that is ours; whether it still was. An unclear change before may have moved it: that is ours."""
    claim = holding.claim
    for _ in range(2):
        if body:
            holding.asks(trio.current_time())
        try:
            holding.sequence = await register.put(
                claim.governor,
                holding.number,
                body,
                owner=claim.id,
                lease=holding.lease,
                expected=holding.sequence,
            )
        except CheckpointMoved:
            seen = await register.look(claim.governor, holding.number)
            if seen is None and body and not claim.is_seat:
                holding.sequence = 0  # the lease ended, but nobody came; who held a seat cannot be sure of that
            elif seen is None or seen.owner != claim.id:
                return False
            else:
                holding.sequence = seen.sequence
        else:
            return True
    return False
