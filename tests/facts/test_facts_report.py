"""One message at each look: everything at the start and on change, a heartbeat while nothing changes."""

from __future__ import annotations

import json
import math
import os
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, MraError, OutboxFull, Refused
from mra.facts import FactsSettings, Newest, run_facts, take_snapshot
from mra.facts.settings import GROUPS, NodeSettings
from mra.outbox.outbox import open_outbox
from mra.outbox.policy import OutboxSettings
from mra.outbox.record import Draft, Lane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

IDENTITY = "n1.acme.example"


class Host:
    """A host whose answers the test sets."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {"host": {"info": {"hostname": "n1", "uptime": 0}}}
        self.problems: dict[str, str] = {}
        self.looks = 0

    async def gather(self, skip: frozenset[str]) -> tuple[dict[str, object], dict[str, str]]:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        self.facts["host"]["info"]["uptime"] = self.looks
        return {name: facts for name, facts in self.facts.items() if name not in skip}, dict(self.problems)


class Saas:
    """Takes drafts as the outbox would, or refuses them while `trouble` is set."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.refused = 0
        self._send, self._receive = trio.open_memory_channel[Draft](math.inf)

    async def append(self, draft: Draft) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble:
            self.refused += 1
            raise self.trouble
        self._send.send_nowait(draft)

    async def next(self) -> tuple[str, dict[str, object]]:
        """What was reported next: `facts` or `heartbeat`, and its data."""
        event = json.loads((await self._receive.receive()).body)
        return event["type"].rpartition(".")[2], event["data"]

    async def next_draft(self) -> Draft:
        return await self._receive.receive()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def saas() -> Saas:
    return Saas()


@pytest.fixture
def configured(tmp_path: Path) -> FactsSettings:
    return FactsSettings(IDENTITY, tmp_path / "facts.json")


@asynccontextmanager
async def running(configured: FactsSettings, saas: Saas, host: Host, hook=None) -> AsyncIterator[Newest]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(run_facts, configured, saas.append, hook, gather=host.gather))
        nursery.cancel_scope.cancel()


async def test_the_first_report_tells_everything(configured, saas, host) -> None:
    async with running(configured, saas, host):
        draft = await saas.next_draft()
    event = json.loads(draft.body)
    assert (draft.lane, draft.subject, draft.key) == (Lane.NODES, IDENTITY, IDENTITY)
    assert event["id"] == draft.id
    assert (event["specversion"], event["subject"], event["type"]) == ("1.0", IDENTITY, "mra.node.v1.facts")
    assert event["data"]["protocol"] == event["type"]
    assert event["data"]["occasion"] == "start"
    assert event["data"]["facts"]["host"]["info"]["hostname"] == "n1"
    assert event["data"]["facts"]["machine_room"]["identity"] == IDENTITY


async def test_while_nothing_changes_there_is_a_heartbeat_beside_the_report(
    configured, saas, host, autojump_clock
) -> None:
    async with running(configured, saas, host):
        full = await saas.next_draft()
        beat = await saas.next_draft()
    data = json.loads(beat.body)["data"]
    assert (beat.subject, beat.key) == (f"{IDENTITY}.heartbeat", f"{IDENTITY}.heartbeat")
    assert data["report"] == full.id
    assert data["digest"] == json.loads(full.body)["data"]["digest"]
    assert len(beat.body) < 600
    assert trio.current_time() < 700


async def test_a_change_is_told_in_full_and_named(configured, saas, host, autojump_clock) -> None:
    async with running(configured, saas, host):
        await saas.next()
        host.facts["cpu"] = {"info": [{"modelName": "new"}]}
        kind, data = await saas.next()
        assert (kind, data["occasion"], data["changed"]) == ("facts", "change", ["cpu.info"])
        assert (await saas.next())[0] == "heartbeat"


async def test_everything_is_told_again_after_some_hours(configured, saas, host, autojump_clock) -> None:
    async with running(replace(configured, refresh_every=3600, full_every=2 * 3600), saas, host):
        told = [await saas.next() for _ in range(5)]
    assert [kind for kind, _ in told] == ["facts", "heartbeat", "facts", "heartbeat", "facts"]
    assert told[2][1]["occasion"] == "schedule"


async def test_a_report_that_was_not_accepted_is_due_at_the_next_look(configured, saas, host, autojump_clock) -> None:
    saas.trouble = OutboxFull("The disk is full: free disk space.")
    async with running(configured, saas, host) as newest:
        while saas.refused < 3:
            await newest.wait_refreshed()
            await trio.testing.wait_all_tasks_blocked()
        saas.trouble = None
        assert (await saas.next())[1]["occasion"] == "start"
        saas.trouble = Refused("No.")
        host.facts["cpu"] = {"info": [1]}
        while saas.refused < 5:
            await newest.wait_refreshed()
            await trio.testing.wait_all_tasks_blocked()
        saas.trouble = None
        assert (await saas.next())[1]["changed"] == ["cpu.info"]


async def test_looks_come_at_fixed_times_even_when_one_takes_long(configured, saas, host, autojump_clock) -> None:
    times = []

    async def slow_hook() -> Mapping[str, object]:
        times.append(trio.current_time())
        await trio.sleep(50)
        return {}

    async with running(replace(configured, hook_seconds=60), saas, host, slow_hook):
        for _ in range(3):
            await saas.next()
    start = times[0]
    assert [round(at - start) for at in times] == [0, 600, 1200]


async def test_facts_are_kept_for_machines_and_for_nobody_else(configured, saas, host) -> None:
    async with running(configured, saas, host) as newest:
        await saas.next()
        assert json.loads(configured.file.read_bytes()) == newest.facts
    assert stat.S_IMODE(configured.file.stat().st_mode) == 0o600
    assert [entry.name for entry in configured.file.parent.iterdir()] == ["facts.json"]


async def test_what_a_killed_writer_left_behind_is_replaced(configured, saas, host) -> None:
    leftover = configured.file.with_name(".facts.json.new")
    leftover.symlink_to("/dev/full")
    async with running(configured, saas, host):
        await saas.next()
    assert not leftover.is_symlink()
    assert configured.file.is_file()


async def test_a_disk_that_takes_nothing_does_not_stop_the_report(configured, saas, host, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    async with running(configured, saas, host) as newest:
        assert (await saas.next())[0] == "facts"
        assert newest.snapshot is not None
    assert list(configured.file.parent.iterdir()) == []


async def test_machines_have_the_last_facts_while_a_slow_host_answers(configured, saas) -> None:
    class Slow(Host):
        async def gather(self, skip: frozenset[str]) -> tuple[dict[str, object], dict[str, str]]:
            await trio.sleep_forever()
            raise AssertionError

    configured.file.write_text(json.dumps({"machine_room": {"identity": IDENTITY}, "host": {"from": "last run"}}))
    async with running(configured, saas, Slow()) as newest:
        assert newest.facts["host"] == {"from": "last run"}
        assert newest.snapshot is None


@pytest.mark.parametrize(
    "left", ["", "{", "[]", "[" * 100_000, '{"machine_room": 1}', '{"machine_room": {"identity": "another"}}', "\xff"]
)
async def test_kept_facts_that_cannot_be_trusted_are_ignored(configured, saas, host, left: str) -> None:
    configured.file.write_bytes(left.encode("latin-1"))
    async with running(configured, saas, host) as newest:
        assert newest.facts == {} or newest.snapshot
        assert (await saas.next())[0] == "facts"


async def raising() -> Mapping[str, object]:
    raise RuntimeError("the database\nis away")


async def leaving() -> Mapping[str, object]:
    raise SystemExit(3)


async def crashing_together() -> Mapping[str, object]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raising)
    return {}


async def hanging() -> Mapping[str, object]:
    await trio.sleep_forever()
    return {}


async def returning_a_list() -> Mapping[str, object]:
    return [1]  # type: ignore[return-value]


def not_async() -> Mapping[str, object]:
    return {"site": "north"}


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (raising, "the hook failed with RuntimeError: the database is away"),
        (leaving, "the hook failed with SystemExit: 3"),
        (crashing_together, "the hook failed with ExceptionGroup: Exceptions from Trio nursery (1 sub-exception)"),
        (hanging, "the hook gave no answer within 10 s"),
        (returning_a_list, "the hook returned a list, not a mapping of names to facts"),
        (not_async, "the hook failed with TypeError: object dict can't be used in 'await' expression"),
    ],
)
async def test_a_bad_hook_is_reported_and_the_rest_is_kept(configured, host, autojump_clock, hook, why: str) -> None:
    snapshot = await take_snapshot(configured, hook, gather=host.gather)
    assert snapshot.problems == {"machine_room.additional_facts": why}
    assert snapshot.facts["host"]["info"]["hostname"] == "n1"
    assert "additional_facts" not in snapshot.facts["machine_room"]


async def test_the_facts_of_a_hook_stand_in_their_place(configured, host) -> None:
    async def hook() -> Mapping[str, object]:
        await trio.lowlevel.checkpoint()
        return {"site": "north", "junk": {1}, "password": "hunter2"}

    snapshot = await take_snapshot(configured, hook, gather=host.gather)
    assert snapshot.facts["machine_room"]["additional_facts"] == {"site": "north", "password": "(redacted)"}
    assert b"hunter2" not in snapshot.encoded
    assert len(snapshot.problems) == 2


async def test_tokens_are_named_by_their_fingerprint_only(configured, host, tmp_path) -> None:
    token = tmp_path / "server.jwt"
    token.write_text("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJuMSJ9.c2lnbmF0dXJl\n")
    node = NodeSettings(
        options={"name": "acme", "admin_password": "hunter2"}, public_key="ab12", public_nkey="UABC",
        extended_claims={"customer": "acme"}, server_token=token, provisioning_token=tmp_path / "absent.jwt",
    )  # fmt: skip
    snapshot = await take_snapshot(replace(configured, node=node), gather=host.gather)
    room = snapshot.facts["machine_room"]
    assert room["server"].keys() == {"public_key", "public_nkey", "token_fingerprint"}
    assert room["server"]["token_fingerprint"].startswith("sha256:")
    assert room["provisioning"] == {"extended_claims": {"customer": "acme"}}
    assert room["options"] == {"name": "acme", "admin_password": "(redacted)"}
    assert b"eyJ" not in snapshot.encoded
    assert b"hunter2" not in snapshot.encoded


async def test_a_token_that_cannot_be_read_is_a_reason(configured, host, tmp_path) -> None:
    snapshot = await take_snapshot(replace(configured, node=NodeSettings(server_token=tmp_path)), gather=host.gather)
    assert "cannot be read" in snapshot.problems["machine_room.server.token_fingerprint"]


async def test_reasons_with_strange_names_do_not_break_the_report(configured, host) -> None:
    host.problems = {"mount \udcff\n/x": "nothing \udcfe"}
    snapshot = await take_snapshot(configured, gather=host.gather)
    assert snapshot.problems == {"mount ? /x": "nothing ?"}


async def test_cancelling_leaves_no_file_and_no_task(configured, saas, host) -> None:
    async def hook() -> Mapping[str, object]:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
        return {}

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(run_facts, configured, saas.append, hook, gather=host.gather))
    assert list(configured.file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda s: replace(s, identity="has space"), "Subject"),
        (lambda s: replace(s, identity=""), "Subject"),
        (lambda s: replace(s, skip=frozenset({"disks"})), "disks"),
        (lambda s: replace(s, refresh_every=0), "refresh_every"),
        (lambda s: replace(s, full_every=math.nan), "full_every"),
        (lambda s: replace(s, max_bytes=10), "max_bytes"),
    ],
)
def test_settings_that_make_no_sense_are_named(configured, make: Callable[[FactsSettings], object], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        make(configured)


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=wild, skip=st.sets(st.sampled_from(GROUPS)))
def test_no_answer_of_a_hook_or_host_stops_a_report(tmp_path_factory, answer: object, skip: set[str]) -> None:
    async def hook() -> object:
        await trio.lowlevel.checkpoint()
        return answer

    async def report() -> None:
        configured = FactsSettings(IDENTITY, Path("unused"), skip=frozenset(skip))
        snapshot = await take_snapshot(configured, hook, gather=Host().gather)  # type: ignore[arg-type]
        assert json.loads(snapshot.encoded)["machine_room"]["identity"] == IDENTITY

    trio.run(report)


async def test_during_an_outage_only_the_newest_report_and_heartbeat_wait(configured, host, tmp_path) -> None:
    """Against the real outbox, on the real clock: the number of looks counts, not their duration."""
    send, accepted = trio.open_memory_channel[str](math.inf)
    async with open_outbox(tmp_path / "outbox.db", OutboxSettings(min_free=0, ballast=0)) as outbox:

        async def append(draft: Draft) -> None:
            try:
                await outbox.append(draft)
            except MraError as error:
                send.send_nowait(error.sentence)
                raise
            send.send_nowait(str(draft.key))

        async with trio.open_nursery() as nursery:
            often = replace(configured, refresh_every=0.1)
            await nursery.start(partial(run_facts, often, append, gather=host.gather))
            assert [await accepted.receive() for _ in "12"] == [IDENTITY, f"{IDENTITY}.heartbeat"]
            host.facts["cpu"] = {"info": ["new"]}
            while (key := await accepted.receive()) != IDENTITY:
                assert key == f"{IDENTITY}.heartbeat", "before the change is seen, heartbeats go on"
            assert await accepted.receive() == f"{IDENTITY}.heartbeat"
            nursery.cancel_scope.cancel()
        waiting = await outbox.read(
            lambda connection: connection.execute("SELECT key FROM row_nodes ORDER BY key").fetchall()
        )
    assert [key for (key,) in waiting] == [IDENTITY, f"{IDENTITY}.heartbeat"]
