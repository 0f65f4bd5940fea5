"""Outboxes for the tests: one under a clock of the test's own, one as the daemon's tasks see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.outbox.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an outbox goes: a state directory that is not there yet."""
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def desk(path: Path) -> Iterator[Desk]:
    """An empty outbox without bounds that a test could meet by accident; it must add up when the test ends."""
    with Desk.open(path) as desk:
        yield desk
        assert desk.problems() == []
