"""A site that never comes online, its courier, and the SaaS's import desk."""

from __future__ import annotations

import itertools
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from mra.aio.session import Access, open_session
from mra.groups import ungrouped
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane
from mra.saas.verify import verify_stream
from mra.sealed import acknowledgement
from mra.sealed.delivery import LaneOutcome, Target, import_sealed
from mra.sealed.export import Exported, Sender, export_sealed
from mra.sealed.keys import SealingSecret
from mra.sealed.reading import open_sealed
from tests.harness.saas import EVENTS, NODES, SUBMISSION, Saas
from tests.outbox.desk import SETTINGS, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = SealingSecret.generate()
HOLD = OutboxSettings().export_hold


class Island:
    """An outbox with a courier. Files are numbered in the order of their making."""

    def __init__(self, desk: Desk, folder: Path, agent: str = "site1") -> None:
        self.desk = desk
        self.agent = agent
        self.last: Exported
        self._folder = folder
        self._numbers = itertools.count(1)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, agent: str = "site1") -> Iterator[Self]:
        """An island whose state lies in `folder`."""
        with Desk.open(folder / "outbox.db", SETTINGS) as desk:
            yield cls(desk, folder, agent)
            assert desk.problems() == []

    def accept(self, count: int, lane: Lane = Lane.EVENTS, size: int = 10) -> None:
        """That many rows more."""
        self.desk.offer(*(Draft(lane, "some.subject", b"x" * size, {"A": "b"}) for _ in range(count)))

    def export(self, *lanes: Lane, everything: bool = False) -> Path:
        """The courier takes a file along."""
        path = self._folder / f"{next(self._numbers)}.sealed"
        self.last = export_sealed(
            self.desk.connection, path, Sender(self.agent, "acme", None, "test"), SECRET.public, hold=HOLD,
            lanes=lanes or tuple(Lane), everything=everything,
        )  # fmt: skip
        return path

    def settle(self, raw: bytes) -> dict[Lane, acknowledgement.Settled]:
        """The courier brings an answer."""
        answer = acknowledgement.read_answer(raw, SECRET.public)
        return acknowledgement.settle(self.desk.connection, answer, agent=self.agent, customer="acme")

    def standing(self, lane: Lane = Lane.EVENTS) -> tuple[int, int]:
        """(delivered, waiting)"""
        state = self.desk.state(lane)
        return state.delivered, state.waiting

    def copy(self, folder: Path) -> None:
        """The state directory as it is now, for an island of its own."""
        self.desk.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        folder.mkdir(parents=True)
        shutil.copy(self._folder / "outbox.db", folder / "outbox.db")


def backend(saas: Saas) -> Access:
    """The account that owns the streams."""
    return Access((saas.url,), "import", saas.backend.user, saas.backend.password)


async def bring(saas: Saas, path: Path, *, adopt: bool = False) -> dict[Lane, LaneOutcome]:
    """Import a file, or raise the one error that says why not."""
    with open_sealed(path, SECRET) as file:
        verified = file.verify()
        with ungrouped():
            async with open_session(backend(saas)) as session:
                return await import_sealed(session, file, verified, Target("acme", adopt))


async def bring_and_answer(saas: Saas, path: Path) -> bytes:
    """Import a file; the acknowledgement that the courier takes back."""
    outcomes = await bring(saas, path)
    with open_sealed(path, SECRET) as file:
        checkpoints = {lane: outcome.checkpoint for lane, outcome in outcomes.items()}
        return acknowledgement.write_answer(file.header, "acme", checkpoints, SECRET)


async def proven(saas: Saas) -> dict[str, int]:
    """Rows of every lane, each proven complete by `mra saas verify`."""
    found: dict[str, int] = {}
    async with open_session(backend(saas)) as session:
        for stream in (EVENTS, NODES, SUBMISSION):
            for lane in await verify_stream(session, stream):
                assert lane.is_complete, lane
                found[lane.origin] = lane.rows
    return found


def stored(outcomes: dict[Lane, LaneOutcome]) -> dict[str, int]:
    """Rows that an import stored, per lane."""
    return {lane.value: outcome.stored for lane, outcome in outcomes.items()}
