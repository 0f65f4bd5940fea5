"""Subjects of an agent's lanes, seen from a customer's account and from the one that owns the streams. Pure.

A customer's account imports the subjects without the customer in them, so that no agent can name another customer. The
owner of the streams sees them with it, and reads a checkpoint from the stream itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from mra.outbox.record import Lane
from mra.uplink.checkpoint import checkpoint_name

_KINDS = {Lane.SUBMISSIONS: "submit", Lane.EVENTS: "events", Lane.NODES: "nodes", Lane.METRICS: "events"}
_STREAMS = {"submit": "MACHINE_ROOM_SUBMISSION", "events": "MACHINE_ROOM_EVENTS", "nodes": "MACHINE_ROOM_NODES"}


def kind_of(lane: Lane) -> str:
    """The word after `machine_room.` for subjects of the lane."""
    return _KINDS[lane]


def stream_of(lane: Lane) -> str:
    """The stream that holds the lane's rows and checkpoints."""
    return _STREAMS[kind_of(lane)]


@dataclass(frozen=True)
class Subjects:
    """The subjects of one agent; with a `customer` as the owner of the streams sees them."""

    agent: str
    customer: str | None = None

    def rows(self, lane: Lane) -> str:
        """What every row's subject begins with, a dot at its end."""
        prefix = f"machine_room.{kind_of(lane)}."
        return prefix if self.customer is None else f"{prefix}{self.customer}."

    def checkpoint(self, lane: Lane) -> str:
        """Where the lane's checkpoints are stored."""
        return f"{self.rows(lane)}checkpoint.{checkpoint_name(self.agent, lane)}"

    def newest_checkpoint(self, lane: Lane) -> str:
        """Where to ask for the newest of them."""
        if self.customer is None:
            return f"machine_room.checkpoint.{kind_of(lane)}.{checkpoint_name(self.agent, lane)}"
        return f"$JS.API.DIRECT.GET.{stream_of(lane)}.{self.checkpoint(lane)}"
