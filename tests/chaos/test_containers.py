"""The compose stack on a real container engine: enrolled, deployed to, cut off, drained, verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import containers
from tests.harness.containers import Containers, open_containers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.skipif(containers.missing() is not None, reason=str(containers.missing())),
]
NODES = {"acme": "acme-1", "globex": "globex-1"}
RECORDS = 200
PUBLISH = """
set -e
cp /lab/plugins/signer.seed /tmp/signer.seed && chmod 600 /tmp/signer.seed
cp -r /lab/plugins/greeter /tmp/greeter
mra saas plugins pack /tmp/greeter --into /lab/var/artifacts --base-url https://artifacts:8443 >/tmp/plugins.json
mra saas plugins sign --seed /tmp/signer.seed /tmp/plugins.json --output /tmp/signed.json
mra saas plugins publish acme /tmp/signed.json
"""


@pytest.fixture
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containers]:
    async with open_containers(tmp_path_factory.mktemp("containers")) as running:
        yield running


def connected(status: dict[str, Any]) -> bool:
    return bool(status["running"]) and status["link"]["state"] == "connected"


def waiting(status: dict[str, Any]) -> int:
    return sum(lane["waiting"] for lane in status["lanes"].values())


async def submit(stack: Containers, node: str, count: int) -> set[str]:
    """Records from a program beside the agent; the ids that it was told are accepted."""
    lines = "".join(f'{{"number": {number}}}\n' for number in range(count)).encode()
    said = await stack.inside(node, "mra", "submit", "app.orders", "-", "--lines", stdin=lines)
    return set(said.split())


async def test_the_stack_enrols_deploys_is_cut_off_and_delivers_everything(stack: Containers) -> None:
    for node in NODES:
        await stack.until(connected, node, "mra", "status")
    listed = await stack.document("desk", "mra", "saas", "node", "ls")
    assert {(each["customer"], each["identity"]) for each in listed} == set(NODES.items())

    await stack.inside("desk", "sh", "-c", PUBLISH)
    await stack.until(
        lambda machines: "greeter" in {each["name"] for each in machines}, "acme", "mra", "machines", "ls"
    )
    assert "greeter" not in {each["name"] for each in await stack.document("globex", "mra", "machines", "ls")}

    accepted = {node: await submit(stack, node, RECORDS) for node in NODES}
    await stack.cut_off("acme")
    accepted["acme"] |= await submit(stack, "acme", RECORDS)
    await stack.until(lambda status: not connected(status) and waiting(status) >= RECORDS, "acme", "mra", "status")
    await stack.run("podman", "kill", containers.container("nats"))
    accepted["globex"] |= await submit(stack, "globex", RECORDS)
    await stack.run("podman", "start", containers.container("nats"))
    await stack.bring_back("acme")
    for node in NODES:
        await stack.until(lambda status: connected(status) and not waiting(status), node, "mra", "status")

    # Not at once: the containers' name server takes its time after a change of the network.
    verified = await stack.until(lambda found: found["complete"], "desk", "mra", "saas", "verify")
    lanes = {lane["lane"]: lane for lane in verified["lanes"]}
    for customer, node in NODES.items():
        found = lanes[f"{node}-submissions"]
        print(
            f"{customer}: submissions: accepted {len(accepted[customer])}, delivered {found['rows']}, duplicated"
            f" {found['duplicated']}, out of order {found['reordered']}, missing {len(found['missing'])}"
        )
        assert len(accepted[customer]) == found["rows"] == 2 * RECORDS
        assert (found["duplicated"], found["reordered"], found["missing"]) == (0, 0, [])
