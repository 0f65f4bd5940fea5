"""A vendor who orders plugins from a real SaaS, and looks at what its customer's agent says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from mra.aio.session import Access, open_session
from mra.machines.archives.pack import pack
from mra.machines.spec import Plugin, sign
from mra.saas import config
from tests.harness.saas import EVENTS
from tests.machines.test_spec import KEY, SEED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.saas import Saas
    from tests.machines.archives.server import ArtifactServer

PATIENCE_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.1
PUMP = """\
name: pump
version: {version}
initial_state: RUN
transitions:
  - {{name: work, from: [IDLE], destination: RUN}}
  - {{name: rest, from: [RUN], destination: IDLE}}
watchers:
  - {{name: tick, type: exec, interval: 1s, state_match: [RUN], properties: {{command: /bin/true, timeout: 10s}}}}
"""


def customer_tables(saas: Saas, artifacts: ArtifactServer) -> dict[str, dict[str, Any]]:
    """What an agent is configured with so that it follows this vendor; it denies a machine `unwanted`."""
    return {
        "saas": {"customer": saas.customer},
        "facts": {"enabled": False},
        "machines": {"signing_key": KEY, "extra_ca": str(artifacts.ca_file), "deny": ["unwanted"]},
    }


@dataclass
class Vendor:
    """Publishes for the SaaS's customer; `artifacts` is where its archives lie, `directory` where it makes them."""

    saas: Saas
    artifacts: ArtifactServer
    directory: Path
    serial: int = 0

    def pack(self, version: str, manifest: str = PUMP) -> Plugin:
        """Put this version of the plugin `pump` on the HTTP server."""
        source = self.directory / "pump"
        source.mkdir(parents=True, exist_ok=True)
        (source / "machine.yaml").write_text(manifest.format(version=version))
        packed = pack(source)
        path = f"/pump-{version}.tgz"
        self.artifacts.files[path] = packed.archive
        return Plugin("pump", self.artifacts.url(path), packed.checksum, packed.verify_checksum)

    def signed(self, *plugins: Plugin) -> bytes:
        """A specification that is newer than all before."""
        self.serial += 1
        return sign(plugins, SEED, self.serial)

    async def order(self, specification: bytes) -> None:
        """Write it into the bucket, whatever it is."""
        login = self.saas.backend
        access = Access((self.saas.url,), "vendor", login.user, login.password)
        async with open_session(access) as session:
            await config.put(session, self.saas.customer, "machines", specification)

    async def publish(self, version: str, manifest: str = PUMP) -> bytes:
        """Order this version of `pump`; the specification that says so."""
        specification = self.signed(self.pack(version, manifest))
        await self.order(specification)
        return specification

    async def envelopes(self) -> list[dict[str, Any]]:
        """All machine events that the SaaS holds, as they are stored."""
        async with self.saas.connect() as wire:
            stored = await wire.read_stream(EVENTS)
        return [json.loads(each.body) for each in stored if ".machine." in each.subject]

    async def events(self) -> list[dict[str, Any]]:
        """Their data."""
        return [envelope["data"] for envelope in await self.envelopes()]

    async def hears(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for an event that fits, however old; gives its data."""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                for event in await self.events():
                    if condition(event):
                        return event
                await trio.sleep(LOOK_AGAIN_SECONDS)

    async def hears_of(self, machine: str, version: str, **data: object) -> dict[str, Any]:
        """Wait for an event of this version of a machine with these data."""
        wanted = {"machine": machine, "version": version, **data}
        return await self.hears(lambda event: wanted.items() <= event.items())
