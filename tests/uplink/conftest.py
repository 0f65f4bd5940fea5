"""A SaaS in memory and one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes import FakeSaas
from tests.uplink.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def saas() -> FakeSaas:
    return FakeSaas()


@pytest.fixture
def site(saas: FakeSaas) -> Iterator[Site]:
    made = Site(saas)
    yield made
    made.close()
