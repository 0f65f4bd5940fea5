"""An agent with a NATS user's token delivers through its customer's account, unless that is suspended."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from mra.cli.main import invoke
from mra.errors import BadInput
from mra.outbox.outbox import open_outbox
from mra.outbox.record import Draft, Lane
from mra.settings import read_settings
from mra.tokens import creds
from mra.uplink.service import LinkStatus, run_uplink
from tests.harness.saas import EVENTS
from tests.harness.tenancy import Tenancy, open_tenancy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.settings import Settings


@pytest.fixture
async def saas(tmp_path: Path) -> AsyncIterator[Tenancy]:
    async with open_tenancy(tmp_path / "saas", "acme") as running:
        yield running


def configured(folder: Path, url: str, proof: str, name: str = "n1") -> Settings:
    file = folder / "agent.toml"
    file.write_text(
        f'[agent]\nname = "{name}"\nstate = "state"\n[saas]\nurls = ["{url}"]\n{proof}\n'
        '[outbox]\nballast = "0B"\nmin_free = "1MiB"\n[uplink]\nretry_first = "20ms"\nretry_cap = "100ms"\n'
    )
    return read_settings(file)


@pytest.mark.lab
async def test_rows_wait_while_the_customer_is_suspended_and_arrive_once(saas: Tenancy, tmp_path: Path) -> None:
    shutil.copy(saas.site("acme"), tmp_path / "n1.creds")
    settings = configured(tmp_path, saas.url, 'credentials_file = "n1.creds"')
    account = saas.customer("acme").account
    assert settings.customer == account
    async with open_outbox(settings.database, settings.outbox) as outbox, trio.open_nursery() as nursery:
        link = LinkStatus()
        nursery.start_soon(run_uplink, outbox, settings.access, settings.uplink, link)
        await outbox.append_many([Draft(Lane.EVENTS, "lifecycle.x", b"%d" % n) for n in range(10)])
        with trio.fail_after(30):
            await outbox.wait_empty()
            await saas.mra("customer", "suspend", "acme")
            while link.state == "connected":  # noqa: ASYNC110 - nothing else tells of it
                await trio.sleep(0.01)
        await outbox.append_many([Draft(Lane.EVENTS, "lifecycle.x", b"%d" % n) for n in range(10, 20)])
        await saas.mra("customer", "resume", "acme")
        with trio.fail_after(30):
            await outbox.wait_empty()
        nursery.cancel_scope.cancel()
    async with saas.connect(saas.backend) as backend:
        stored = [one for one in await backend.read_stream(EVENTS) if "checkpoint" not in one.subject]
    assert [one.body for one in stored] == [b"%d" % n for n in range(20)]
    assert {one.subject for one in stored} == {f"machine_room.events.{account}.lifecycle.x"}


@pytest.fixture
def proofs(tmp_path: Path) -> Path:
    """A token and a key that belong together, in files of all forms."""
    words = ["saas", "init", str(tmp_path / "vendor")]
    vendor = ["--saas", str(tmp_path / "vendor")]
    assert invoke(words) == 0
    invoke(["saas", "customer", "add", "acme", *vendor])  # decided; no server runs that could follow
    file = tmp_path / "n1.creds"
    assert invoke(["saas", "customer", "credentials", "acme", "n1", "-o", str(file), *vendor]) == 0
    token, key = creds.parse(file.read_text())
    (tmp_path / "user.jwt").write_text(token + "\n")
    (tmp_path / "user.nkey").write_text(key.seed + "\n")
    (tmp_path / "user.nkey").chmod(0o600)
    return tmp_path


URL = "nats://127.0.0.1:1"


def test_token_and_key_may_stand_in_files_of_their_own(proofs: Path) -> None:
    settings = configured(proofs, URL, 'user_jwt_file = "user.jwt"\nnkey_file = "user.nkey"')
    assert settings.access.user_jwt is not None
    assert settings.access.user_jwt() == (proofs / "user.jwt").read_bytes().strip()
    assert settings.customer is not None


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ('user_jwt_file = "user.jwt"', "go together"),
        ('credentials_file = "n1.creds"\nuser = "acme"\npassword_file = "user.jwt"', "several credentials"),
        ('credentials_file = "absent"', "Cannot read"),
        ('credentials_file = "user.jwt"', "can be read by others|no NATS credentials"),
        ('user_jwt_file = "user.nkey"\nnkey_file = "user.nkey"', "no signed token"),
        ('user_jwt_file = "user.jwt"\nnkey_file = "user.jwt"', "can be read by others|no nkey seed"),
    ],
)
def test_proofs_that_cannot_work_are_one_sentence(proofs: Path, proof: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        configured(proofs, URL, proof)


def test_a_seed_that_others_can_read_is_refused(proofs: Path) -> None:
    (proofs / "n1.creds").chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        configured(proofs, URL, 'credentials_file = "n1.creds"')


def test_the_agent_has_the_name_that_its_permissions_are_for(proofs: Path) -> None:
    with pytest.raises(BadInput, match="'n1'"):
        configured(proofs, URL, 'credentials_file = "n1.creds"', name="n2")


def test_a_key_of_another_user_is_refused(proofs: Path) -> None:
    vendor = ["--saas", str(proofs / "vendor")]
    assert invoke(["saas", "customer", "credentials", "acme", "n2", "-o", str(proofs / "n2.creds"), *vendor]) == 0
    (proofs / "user.nkey").write_text(creds.parse((proofs / "n2.creds").read_text()).key.seed)
    with pytest.raises(BadInput, match="belong together"):
        configured(proofs, URL, 'user_jwt_file = "user.jwt"\nnkey_file = "user.nkey"')
