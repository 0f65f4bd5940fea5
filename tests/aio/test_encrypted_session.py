"""A connection over TLS: it ends within a bound wherever the network leaves it, as one in the clear does."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from lab.plugins.authority import Authority
from mra.aio.session import Access, open_session
from mra.errors import LinkLost
from tests.harness.proxy import Proxy, open_proxy
from tests.harness.saas import LAB, open_saas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.lab
SUBJECT = "machine_room.events.lifecycle.x"
SILENCES: list[Callable[[Proxy], None]] = [Proxy.stall, Proxy.drop_upstream, Proxy.drop_downstream, Proxy.blackhole]
FAULTS = [Proxy.cut, Proxy.half_open, *SILENCES]


@asynccontextmanager
async def open_encrypted(directory: Path) -> AsyncIterator[tuple[Access, Proxy]]:
    """A server that wants TLS, a proxy before it, and how to reach it there."""
    authority = Authority.new(directory / "tls")
    configuration = directory / "saas.conf"
    pair = f'tls {{ cert_file: "{authority.certificate}", key_file: "{authority.certificate}" }}'
    configuration.write_text((LAB / "nats" / "saas.conf").read_text() + pair)
    tls = ssl.create_default_context(cafile=str(authority.ca_file))
    async with (
        open_saas(directory / "saas", configuration=configuration, tls=tls) as saas,
        open_proxy(saas.port) as proxy,
    ):
        url = f"tls://127.0.0.1:{proxy.port}"
        yield Access((url,), "n1", saas.site.user, saas.site.password, tls=tls, connect_seconds=2), proxy


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_it_closes_within_a_bound_whatever_became_of_the_network(
    fault: Callable[[Proxy], None], tmp_path: Path
) -> None:
    async with open_encrypted(tmp_path) as (access, proxy):
        with trio.fail_after(20):
            async with open_session(access) as session:
                answer = await session.request(SUBJECT, b"{}", patience=10)
                assert b'"seq":1' in answer.body
                fault(proxy)
                with pytest.raises(LinkLost):
                    await session.request(SUBJECT, b"{}", patience=1)


@pytest.mark.parametrize(
    "fault",
    [Proxy.stall, Proxy.drop_upstream, Proxy.drop_downstream, Proxy.blackhole],
    ids=lambda fault: fault.__name__,
)
async def test_connecting_ends_within_a_bound_where_nothing_comes_back(
    fault: Callable[[Proxy], None], tmp_path: Path
) -> None:
    async with open_encrypted(tmp_path) as (access, proxy):
        fault(proxy)
        with trio.fail_after(30), pytest.RaisesGroup(LinkLost, flatten_subgroups=True):
            async with open_session(access):
                raise AssertionError("not reached")


async def test_a_relay_leads_to_the_server_that_the_certificate_names_and_to_no_other(tmp_path: Path) -> None:
    async with open_encrypted(tmp_path) as (access, proxy):
        by_relay = replace(access, urls=("tls://127.0.0.1:1",), via=("localhost:1", f"localhost:{proxy.port}"))
        with trio.fail_after(30):
            async with open_session(by_relay) as session:
                assert b'"seq":1' in (await session.request(SUBJECT, b"{}", patience=10)).body
            with pytest.RaisesGroup(pytest.RaisesExc(LinkLost, match="certificate"), flatten_subgroups=True):
                async with open_session(replace(by_relay, urls=("tls://saas.example:1",))):
                    raise AssertionError("not reached")
