from __future__ import annotations

import pytest

from lab.plugins.authority import Authority
from tests.machines.archives.server import ArtifactServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority.new(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def artifacts(authority, monkeypatch):
    """A real HTTPS server on the loopback, with a certificate of the test's own authority."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ArtifactServer(authority) as server:
        yield server
