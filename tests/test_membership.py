"""A node's place in its site: by its configuration, its enrolment, and the highest term known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.errors import BadInput
from mra.membership import take_place
from mra.outbox.outbox import open_outbox
from mra.settings import read_settings
from mra.site import terms
from mra.site.orders import read_order
from mra.site.terms import Term

if TYPE_CHECKING:
    from pathlib import Path

    from mra.settings import Settings

BUS = 'listen = "127.0.0.1:9222"\nurls = ["tls://127.0.0.1:9222"]\n'


def settings(tmp_path: Path, site: str, *, saas: bool = True) -> Settings:
    file = tmp_path / "agent.toml"
    urls = '[saas]\nurls = ["nats://127.0.0.1:1"]\n' if saas else ""
    file.write_text(f'[agent]\nname = "n1"\nstate = "state"\n[outbox]\nballast = 0\nmin_free = 0\n{urls}{site}')
    return read_settings(file)


@pytest.mark.parametrize(
    ("site", "known", "role"),
    [
        ("", Term(0, ""), ""),
        (f'[site]\nrole = "leader"\n{BUS}', Term(0, ""), "leader"),
        (f'[site]\nrole = "leader"\n{BUS}', Term(1, "n1"), "leader"),
        (f'[site]\nrole = "leader"\n{BUS}', Term(1, "n2"), "former"),  # another one leads in this term already
        (f'[site]\nrole = "leader"\n{BUS}', Term(2, "n2"), "former"),
        (f'[site]\nrole = "leader"\nterm = 3\n{BUS}', Term(2, "n2"), "leader"),
        (f'[site]\nrole = "follower"\n{BUS}', Term(0, ""), "follower"),
        (f'[site]\nrole = "follower"\n{BUS}', Term(2, "n1"), "leader"),
        (f'[site]\nrole = "follower"\n{BUS}', Term(2, "n2"), "follower"),
        ('[site]\nrole = "follower"\nurls = ["tls://127.0.0.1:9222"]\n', Term(2, "n1"), "follower"),  # it has no bus
    ],
)
async def test_a_place_follows_from_role_and_term(tmp_path: Path, site: str, known: Term, role: str) -> None:
    made = settings(tmp_path, site)
    async with open_outbox(made.database, made.outbox) as outbox:
        if known.term:
            await outbox.run_unit(terms.learn, *known)
        place = await take_place(outbox, made)
    assert place.role == role


async def test_a_node_that_stops_following_begins_anew_at_the_saas(tmp_path: Path) -> None:
    made = settings(tmp_path, "")
    async with open_outbox(made.database, made.outbox) as outbox:
        await outbox.run_unit(terms.join, 1, "n2")
        await take_place(outbox, made)
        assert await outbox.read(terms.current) is None
        assert {mark.leader for mark in await outbox.read(terms.ended)} == {"n2"}


def test_an_order_names_a_leader_and_a_term() -> None:
    assert read_order(b'{"leader": "n2", "term": 2}') == Term(2, "n2")


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"[]", b"7", b'{"leader": "n2"}', b'{"leader": 2, "term": 2}', b'{"leader": "n2", "term": "2"}',
        b'{"leader": "n2", "term": 0}', b'{"leader": "", "term": 2}', b'{"leader": "n2", "term": 1e99}',
        b'{"leader": "n2", "term": 99999999999999999999}', b"[" * 5000,
    ],
)  # fmt: skip
def test_an_order_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(BadInput, match=r"(?i)leads a site|the order names"):
        read_order(value)
