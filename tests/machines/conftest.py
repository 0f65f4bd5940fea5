from __future__ import annotations

import pytest

from tests.machines.doubles import Journal


@pytest.fixture
def journal():
    return Journal()
