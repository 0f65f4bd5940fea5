"""What the bus lets its users do, and what the leader takes of what they say."""

from __future__ import annotations

import os
import signal
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from mra.aio.session import Message, open_session
from mra.config.bucket import Entry
from mra.config.index import INDEX_KEY, Mark, decode
from mra.config.store import Stored, apply
from mra.errors import BadInput, LinkLost, Misconfigured, Refused, Rejected, Unavailable
from mra.governors.governors import Governors
from mra.governors.slots import Capacity
from mra.outbox import drain
from mra.outbox.record import Draft, Lane, Row
from mra.site import follower as following
from mra.site import keys, leader
from mra.site.bus import ROSTER_SECONDS, BusSettings, configuration, run_bus
from mra.site.desired import BusBucket
from mra.site.follower import Follower, _Place
from mra.site.governors import BusSlots, _keep
from mra.site.inbox import followers
from mra.site.leader import request
from mra.site.status import SiteStatus
from mra.site.words import Commit, Committed, Hello, Welcome, answer, encode, sent
from mra.tokens.nkey import KeyPair, Kind
from mra.uplink.answers import CheckpointMoved
from mra.uplink.checkpoint import Checkpoint
from tests.harness.ports import free_port
from tests.harness.processes import open_child
from tests.harness.saas import nats_server
from tests.site.bus_site import BusSite, access_of, ids_at_leader, open_bus_site, say_hello, wait_listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mra.outbox.sqlite import Connection

pytestmark = pytest.mark.lab


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BusSite]:
    async with open_bus_site(tmp_path, "n1", "n2") as made:
        yield made


def commit(site: BusSite, *rows: Row) -> Commit:
    checkpoint = Checkpoint("e", rows[0].seq, rows[-1].seq, len(rows), len(rows), 0, drain.digest(rows))
    return Commit(site.stint.stint, 0, 0, rows[0].seq - 1, checkpoint, sent(rows))


def row(seq: int = 1, *, subject: str = "some.subject", headers: str | None = None) -> Row:
    return Row(seq, f"id{seq}", subject, headers, b"body", 0, 0)


async def offer(site: BusSite, word: Commit) -> Committed:
    message = await site.session.request("site.n1.commit.events", encode(word), patience=10)
    return answer(message.body, Committed)


async def test_a_follower_cannot_speak_in_the_name_of_another(site: BusSite) -> None:
    word = encode(Hello(1, "leader", site.stint.stint))
    with pytest.raises(Misconfigured, match=r"site\.n2\.hello"):
        await site.session.request("site.n2.hello", word, patience=10)
    assert list(site.status.followers) == ["n1"]


async def test_a_follower_hears_neither_requests_nor_answers_of_others(site: BusSite) -> None:
    heard: list[Message] = []
    for subject in ("site.>", "_INBOX.n2.>", "_INBOX.>"):
        await site.session.subscribe(subject, heard.append)
    async with open_session(access_of(site, "n2")) as other:
        await say_hello(other, "n2", "0" * 16)
    await site.session.round_trip(5)
    assert heard == []


def test_an_answer_goes_to_the_inbox_of_who_asked_and_nowhere_else() -> None:
    asked = Message("site.n1.hello", b"+x", {}, "", "_INBOX.n1.a.1")
    assert request(asked) is not None
    for reply in ("", "_INBOX.n2.a.1", "_INBOX.n1", "site.n1.hello", "_INBOX.n1.>", "_INBOX.n1.a b"):
        assert request(asked._replace(reply=reply)) is None
    for subject in ("site.n1", "other.n1.hello", "site.n1.commit.events.more"):
        assert request(asked._replace(subject=subject)) is None


async def test_where_a_row_is_from_is_written_by_the_leader(site: BusSite) -> None:
    await site.leader.append(Draft(Lane.EVENTS, "own.row", b"x"))
    await offer(site, commit(site, row(1, headers="A: b\r\n"), row(2)))
    await say_hello(site.session, "n1", "f" * 16)  # another stint: this one ended, and the follower does not know it
    welcome = await say_hello(site.session, "n1", "f" * 16)
    await say_hello(site.session, "n1", "f" * 16, strange=welcome.open)
    headers = await site.leader.read(
        lambda connection: connection.execute("SELECT headers FROM row_events ORDER BY seq").fetchall()
    )
    assert headers == [(None,), ("Mra-Origin: n1-events e 1 0\r\nA: b\r\n",), ("Mra-Origin: n1-events e 2 1\r\n",)]


@pytest.mark.parametrize(
    "forged",
    [
        row(headers="Mra-Origin: n2-events e 1 0\r\n"),
        row(headers="mra-origin: n2-events e 1 0\r\n"),
        row(headers="A: b\r\nMra-Row: leader-events e 1 0\r\n"),
        row(headers="Nats-Rollup: all\r\n"),
        row(headers="A: b\rMra-Origin: n2-events e 1 0\r\n"),
        row(headers="no colon\r\n"),
        row(headers="A: b\r\nA: c\r\n"),
        row(subject="checkpoint.n2-events"),
        row(subject="some.>"),
    ],
)
async def test_a_forged_row_is_refused_whole(site: BusSite, forged: Row) -> None:
    with pytest.raises(Rejected):
        await offer(site, commit(site, forged))
    assert await site.leader.read(ids_at_leader, "n1", Lane.EVENTS) == []


@pytest.mark.parametrize("epoch", ["e 1 0\r\nMra-Row: leader-events x", "", "e f", "e" * 65, "\u00e9"])
async def test_an_epoch_that_would_forge_headers_is_refused(site: BusSite, epoch: str) -> None:
    honest = commit(site, row(1))
    forged = msgspec.structs.replace(honest, checkpoint=msgspec.structs.replace(honest.checkpoint, epoch=epoch))
    with pytest.raises(Rejected, match="no name of an epoch"):
        await offer(site, forged)


async def test_a_producer_cannot_say_where_a_row_is_from(site: BusSite) -> None:
    with pytest.raises(BadInput, match="Mra-Origin is reserved"):
        await site.leader.append(Draft(Lane.EVENTS, "a.b", b"x", {"Mra-Origin": "n2-events e 1 0"}))


async def test_rows_that_are_not_those_of_the_checkpoint_are_refused(site: BusSite) -> None:
    honest = commit(site, row(1), row(2))
    for wrong in (
        msgspec.structs.replace(honest, rows=honest.rows[:1]),
        msgspec.structs.replace(honest, rows=[honest.rows[1], honest.rows[0]]),
        msgspec.structs.replace(honest, rows=[honest.rows[0], msgspec.structs.replace(honest.rows[1], body=b"other")]),
    ):
        with pytest.raises(Rejected):
            await offer(site, wrong)


async def test_garbage_is_answered_and_disturbs_nobody(site: BusSite) -> None:
    for subject in ("hello", "commit.events", "commit.nonsense", "report", "desired", "governor", "nonsense"):
        for body in (b"x", b"+", b"+\xff\xff", b"+" + b"\x91" * 2000):
            message = await site.session.request(f"site.n1.{subject}", body, patience=10)
            with pytest.raises((Refused, LinkLost)):
                answer(message.body, Welcome)
    assert (await offer(site, commit(site, row(1)))).number == 1


async def test_a_leader_with_too_much_to_do_says_so_and_keeps_its_memory(
    site: BusSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(leader, "MOST_BYTES", 10)
        with pytest.raises(Unavailable, match="too much to do"):
            await offer(site, commit(site, row(1)))
    assert (await offer(site, commit(site, row(1)))).number == 1


async def test_what_is_settled_is_told_again_until_the_leader_takes_it(
    site: BusSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await offer(site, commit(site, row(1)))).number == 1
    settlement = drain.Settlement("e", 0, 0, 1)
    await site.outbox.run_unit(drain.advance, Lane.EVENTS, settled=settlement)
    monkeypatch.setattr(following, "_AGAIN", 0.05)
    follower = Follower("n1", site.outbox, SiteStatus("follower"))
    follower._place = _Place(site.stint, 1 << 20)
    async with trio.open_nursery() as nursery:
        with monkeypatch.context() as patch:
            patch.setattr(leader, "MOST_BYTES", 10)
            nursery.start_soon(follower.report, site.session)
            with trio.fail_after(10):
                while (site.status.followers["n1"].refused or "") == "":  # noqa: ASYNC110
                    await trio.sleep(0.02)
        with trio.fail_after(10):
            while (await site.leader.read(followers))["n1"]["unsettled"]:  # noqa: ASYNC110
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert await site.leader.read(ids_at_leader, "n1", Lane.EVENTS) == ["id1"]


async def test_the_same_id_at_two_nodes_names_two_records(site: BusSite) -> None:
    await site.leader.append(Draft(Lane.SUBMISSIONS, "a.b", b"x", id="order-1"))
    one = commit(site, Row(1, "order-1", "a.b", None, b"y", 0, 0))
    message = await site.session.request("site.n1.commit.submissions", encode(one), patience=10)
    assert answer(message.body, Committed).number == 1
    welcome = await say_hello(site.session, "n1", "f" * 16)
    await say_hello(site.session, "n1", "f" * 16, strange=welcome.open)
    await site.leader.append(Draft(Lane.SUBMISSIONS, "a.b", b"x", id="order-1"))
    bodies = await site.leader.read(
        lambda connection: connection.execute("SELECT body FROM row_submissions ORDER BY seq").fetchall()
    )
    assert bodies == [(b"x",), (b"y",)]


async def test_who_is_not_on_the_roster_is_let_in_as_soon_as_it_is(site: BusSite, tmp_path: Path) -> None:
    key = KeyPair.generate(Kind.USER)
    keys.write_files(tmp_path / "n9-keys", {keys.CA: (tmp_path / "leader-keys" / keys.CA).read_bytes()})
    keys.write_files(tmp_path / "n9-keys", {keys.FOLLOWER: key.seed.encode()})
    with pytest.RaisesGroup(Misconfigured, flatten_subgroups=True):
        async with open_session(access_of(site, "n9")):
            pass
    keys.add_follower(tmp_path / "leader-keys", "n9", key.public)
    with trio.fail_after(10 * ROSTER_SECONDS):
        while True:
            try:
                async with open_session(access_of(site, "n9")) as session:
                    await say_hello(session, "n9", "0" * 16)
                break
            except* (Misconfigured, LinkLost):
                await trio.sleep(0.2)
    await site.session.round_trip(5)  # nobody else was disturbed


async def test_who_is_taken_off_the_roster_is_thrown_out(site: BusSite, tmp_path: Path) -> None:
    async with open_session(access_of(site, "n2")) as session:
        await say_hello(session, "n2", "0" * 16)
        keys.remove_follower(tmp_path / "leader-keys", "n2")
        with trio.fail_after(10 * ROSTER_SECONDS):
            await session.lost.wait()
    await site.session.round_trip(5)  # nobody else was disturbed


async def test_certificates_pass_the_strictest_judge(site: BusSite) -> None:
    """Python 3.13 and later ask for what RFC 5280 asks for."""
    access = access_of(site, "n2")
    assert access.tls is not None
    access.tls.verify_flags |= ssl.VERIFY_X509_STRICT
    async with open_session(access):
        pass


async def test_a_bus_of_another_authority_is_not_spoken_to(site: BusSite, tmp_path: Path) -> None:
    keys.make_site(tmp_path / "other", ["127.0.0.1"])
    honest = access_of(site, "n2")
    fooled = keys.access([site.url], "n2", tmp_path / "n2-keys", keys.FOLLOWER)
    (tmp_path / "n2-keys" / keys.CA).write_bytes((tmp_path / "other" / keys.CA).read_bytes())
    wary = replace(honest, tls=keys.access([site.url], "n2", tmp_path / "n2-keys", keys.FOLLOWER).tls)
    async with open_session(fooled):
        pass
    with pytest.RaisesGroup(LinkLost, flatten_subgroups=True):
        async with open_session(wary):
            pass


# --- the server --------------------------------------------------------------------------------------------------


async def test_a_server_that_a_killed_daemon_left_behind_is_replaced(tmp_path: Path) -> None:
    keys.make_site(tmp_path, ["127.0.0.1"])
    settings = BusSettings("n1", "127.0.0.1", free_port(), tmp_path)
    (tmp_path / "bus.conf").write_text(configuration(settings))
    async with open_child([nats_server(), "--config", str(tmp_path / "bus.conf")], tmp_path / "orphan.log") as orphan:
        await wait_listening(settings.port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_bus, settings)
            with trio.fail_after(20):
                assert await orphan.wait() == -signal.SIGKILL
            await wait_listening(settings.port)
            assert int((tmp_path / "bus.pid").read_text()) != orphan.pid
            nursery.cancel_scope.cancel()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", settings.port)  # cancelling left nothing behind


async def test_a_pid_file_that_names_somebody_else_ends_nobody(tmp_path: Path) -> None:
    keys.make_site(tmp_path, ["127.0.0.1"])
    settings = BusSettings("n1", "127.0.0.1", free_port(), tmp_path)
    async with open_child(["sleep", "60"], tmp_path / "other.log") as other, trio.open_nursery() as nursery:
        (tmp_path / "bus.pid").write_text(str(other.pid))
        nursery.start_soon(run_bus, settings)
        await wait_listening(settings.port)
        assert other.returncode is None
        nursery.cancel_scope.cancel()


async def test_a_server_that_ends_is_reported(tmp_path: Path) -> None:
    keys.make_site(tmp_path, ["127.0.0.1"])
    settings = BusSettings("n1", "127.0.0.1", free_port(), tmp_path)

    async def end_it() -> None:
        await wait_listening(settings.port)
        os.kill(int((tmp_path / "bus.pid").read_text()), signal.SIGKILL)

    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="ended with status -9"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_bus, settings)
            nursery.start_soon(end_it)


# --- desired state -----------------------------------------------------------------------------------------------


def put(connection: Connection, revision: int, **values: bytes) -> None:
    apply(connection, "acme", Mark(revision, 7, "b1"), {k: Stored(v, revision) for k, v in values.items()}, (), 0)


async def test_followers_read_the_leaders_copy_and_hear_of_changes(site: BusSite) -> None:
    bucket = BusBucket(site.session, "n1")
    with pytest.raises(Unavailable, match="no desired state yet"):
        await bucket.read(INDEX_KEY)
    heard: list[Entry] = []
    arrived = trio.Event()

    def take(entry: Entry) -> None:
        heard.append(entry)
        arrived.set()

    await bucket.follow(take)
    await site.leader.run_unit(put, 5, limits=b"{}")
    index = await bucket.read(INDEX_KEY)
    assert index is not None
    assert (index.revision, index.bucket, decode(index.value or b"")) == (5, "b1", {"limits": 5})
    assert await bucket.read("limits") == Entry("limits", 5, b"{}")
    assert await bucket.read("absent") is None
    changed, site.mirror._changed = site.mirror._changed, trio.Event()
    changed.set()
    with trio.fail_after(10):
        await arrived.wait()
    assert heard[0].key == INDEX_KEY


# --- governors ---------------------------------------------------------------------------------------------------


class Patience:
    seconds = 0.6

    def __str__(self) -> str:
        return "600ms"


async def test_at_most_so_many_nodes_hold_a_slot_while_the_saas_is_away(site: BusSite) -> None:
    await site.leader.run_unit(_keep, "rollout", Capacity(2, 60), 1)
    others = []
    async with trio.open_nursery() as nursery, open_session(access_of(site, "n2")) as session:
        for slots in (BusSlots(site.session, "n1"), BusSlots(session, "n2"), site.slots):
            governors = Governors()
            nursery.start_soon(governors.serve_with, slots)
            others.append(governors)
        first, second, third = others
        async with first.slot("rollout", "one", Patience()), second.slot("rollout", "two", Patience()):
            with pytest.raises(Unavailable, match="all are held"):
                async with third.slot("rollout", "three", Patience()):
                    pass
        with trio.fail_after(10):
            await first.wait_returned()
            async with third.slot("rollout", "three", Patience()):
                pass
        nursery.cancel_scope.cancel()


async def test_a_governor_that_nobody_told_of_hands_out_nothing(site: BusSite) -> None:
    governors = Governors()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(governors.serve_with, BusSlots(site.session, "n1"))
        with pytest.raises(Unavailable, match="never heard of governor rollout"):
            async with governors.slot("rollout", "one", Patience()):
                pass
        nursery.cancel_scope.cancel()


async def test_a_new_leader_hands_out_no_slot_before_those_of_the_old_one_have_ended(site: BusSite) -> None:
    await site.leader.run_unit(_keep, "rollout", Capacity(2, 60), 2)
    site.slots.term = 2
    with pytest.raises(Unavailable, match="under the leader before"):
        await site.slots.put("rollout", 0, b"one", owner="a", lease=60, expected=0)


async def test_a_leader_that_leads_again_without_the_saas_waits_for_the_slots_of_the_one_between(site: BusSite) -> None:
    await site.leader.run_unit(_keep, "rollout", Capacity(2, 60), 1)
    site.slots.term = 3
    for _ in range(2):
        with pytest.raises(Unavailable, match="under the leader before"):
            await site.slots.put("rollout", 0, b"one", owner="a", lease=60, expected=0)
        assert await site.slots.capacity("rollout") == Capacity(2, 60)


async def test_a_slot_of_another_node_can_be_neither_taken_nor_given_back(site: BusSite) -> None:
    await site.leader.run_unit(_keep, "rollout", Capacity(1, 60), 1)
    sequence = await BusSlots(site.session, "n1").put("rollout", 0, b"one", owner="a", lease=60, expected=0)
    async with open_session(access_of(site, "n2")) as session:
        thief = BusSlots(session, "n2")
        for body in (b"two", b""):
            with pytest.raises(CheckpointMoved, match="another's"):
                await thief.put("rollout", 0, body, owner="a", lease=60, expected=sequence)
