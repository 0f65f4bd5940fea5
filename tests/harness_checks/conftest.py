"""A SaaS for the tests of the instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.saas import Saas, open_saas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    """A running server with the lab's streams."""
    async with open_saas(tmp_path / "saas") as running:
        yield running
