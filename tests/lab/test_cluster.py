"""The files for a cluster do what they say, on three real servers."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.harness.cluster import open_cluster
from tests.harness.saas import LAB, STREAMS

if TYPE_CHECKING:
    from pathlib import Path


def variables(file: str) -> set[str]:
    """Names that an environment file gives."""
    return set(re.findall(r"^(\w+)=", (LAB / "nats" / file).read_text(), re.MULTILINE))


def test_the_environment_files_give_every_variable_of_a_server_of_the_cluster() -> None:
    text = re.sub(r"#.*", "", (LAB / "nats" / "cluster.conf").read_text())
    asked = set(re.findall(r"\$(\w+)", text))
    assert asked <= variables("saas.env") | variables("cluster.env")
    assert variables("cluster.env") - asked == {"MRA_NATS_STORE"}, "and each server has a store of its own"


@pytest.mark.lab
async def test_streams_stand_on_all_servers_and_stay_there(tmp_path: Path) -> None:
    """A later `apply` of definitions that say nothing else brings them back to no single server."""
    async with open_cluster(tmp_path / "cluster", streams=False) as cluster:
        password = tmp_path / "password"
        password.write_text(cluster.servers[0].backend.password)

        async def apply(*options: str) -> set[str]:
            command = [sys.executable, "-m", "mra.cli.main", "saas", "streams", "apply", "--json", *options]
            command += ["--server", cluster.urls[0], "--user", "backend", "--password-file", str(password)]
            done = await trio.run_process(command, capture_stdout=True)
            return set(json.loads(done.stdout).values())

        assert await apply("--replicas", "3") == {"created"}
        assert await apply() == {"unchanged"}
        with trio.fail_after(30):
            await cluster.wait_current()
            for stream in STREAMS:
                found = await cluster.ask(f"$JS.API.STREAM.INFO.{stream}")
                assert found["config"]["num_replicas"] == 3
