"""Governors: how many machines of a customer may do something at once, wherever they are.

A *governor* has a number of *slots*, which the SaaS sets (`mra saas governors set`). A machine takes a slot before it
acts and gives it back afterwards; when all are held it waits, with growing pauses, up to its watcher's
`governor_timeout` (section 5 of the reference, whose pauses, holder's text and events these are).

An *election* is a governor whose slots are the *seats* of leaders, so one leader is a governor with one slot. Who
campaigns waits without end, and whoever holds a seat learns that it is lost (`Governors.seat`). Choria's watchers know
no elections, and its library's campaign for a key of a bucket of their own would be a second thing to set up and watch.

    slots.py      names, subjects, and what a capacity and a slot look like as messages       (pure)
    holding.py    a claim, the slot it holds, and how long that can be relied on
    register.py   where slots are kept: reads and changes them over one session
    changes.py    takes slots and changes them, and clears up what an answer that never came meant
    governors.py  `Governors`: waits for slots, renews and returns them over whichever session there is
    events.py     what became of a slot, as a lifecycle event                                 (pure)

One stream, MACHINE_ROOM_GOVERNORS, keeps the newest message of each subject:

    machine_room.governors.<customer>.<governor>.capacity    {"slots": 3, "lease": 60}, written by the SaaS alone
    machine_room.governors.<customer>.<governor>.slot.<n>    the holder; an empty body when the slot was given back

Why not as Choria does it, with a stream for each governor, a limit on its messages, and the deletion of one to leave?
Customers share one account's streams, and deleting by sequence names no customer: whoever may delete one message of
a stream may delete all of them. To leave by replacing the own message by one that expires at once works on a single
server, but a replicated stream at its limit refuses replacements, and then no slot is ever returned. So a slot is a
subject of its own, and every change is a compare-and-swap on its last sequence: taking, renewing and returning work
alike with any number of replicas, and a customer's imports reach its own subjects only. The number of slots is read
from the stream, not enforced by it; a governor is an agreement among machines that ask.

Invariants
- A slot has one holder: two that reach for it compare with the same sequence, and the server lets one of them through.
- A slot is a lease (`Nats-TTL`). Its holder renews it three times per lease; one that was killed, or cut off, loses it
  when the lease ends, and nothing has to be cleaned up.
- An attempt whose answer was lost is looked up before anything else is tried, so one claim never holds two slots.
- Offline, no slot can be had: a machine that needs one does not act. It waits for the link as it waits for a slot, and
  reports the timeout. What already acts goes on; if the link stays away for longer than the lease, others may begin.
- A slot is given back by a task of its own, so leaving never waits for the network.
- A seat counts as lost before anybody else can have it: a fifth of the lease before the one that the last answered
  renewal asked for can end, by the monotonic clock, with or without a link. That fifth is for clocks that run
  differently and for what a leader has to stop. One that is freed by force is given to nobody before its lease has
  ended, and a renewal never takes one back. It takes machines that keep to it: to use one governor for an election and
  as a limit, to remove and create it anew, or to name another leader of a site while the old one is cut off and goes
  on, gives a seat away that may still be held.
"""
