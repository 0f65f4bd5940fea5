"""Merging, stable bytes, what counts as a change, and how a report is kept within its bound."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.facts.snapshot import VOLATILE, compose, diff, digest, encode, merge

FACTS = {
    "host": {"info": {"hostname": "n1", "uptime": 10, "procs": 80, "bootTime": 5}, "load": {"load1": 0.5}},
    "network": {"addresses": [], "interfaces": [{"name": "eth0", "addrs": [{"addr": "192.0.2.7/24"}]}]},
    "cpu": {"info": [{"modelName": "x", "mhz": 2600.1}, {"modelName": "x", "mhz": 1800.0}]},
    "memory": {"virtual": {"total": 100, "free": 60, "usedPercent": 40.0}, "swap": {"info": {"total": 9, "free": 9}}},
    "partition": {"usage": [{"path": "/", "total": 1000, "free": 400}]},
    "machine_room": {"identity": "n1", "timestamp_seconds": 1, "problems": {"cpu": "first wording"}},
}


def changed(**leaves: object) -> dict[str, object]:
    """FACTS with some leaves replaced; names are paths with `__` for the dot."""
    facts = copy.deepcopy(FACTS)
    for path, value in leaves.items():
        *way, name = path.split("__")
        node = facts
        for word in way:
            node = node[int(word) if isinstance(node, list) else word]
        node[name] = value
    return facts


@pytest.mark.parametrize(
    "moved",
    [
        {"host__info__uptime": 11},
        {"host__info__bootTime": 6},
        {"host__load": {"load1": 9.9}},
        {"cpu__info__1__mhz": 2600.1},
        {"memory__virtual__free": 1, "memory__virtual__usedPercent": 99.0},
        {"memory__swap__info__free": 0},
        {"partition__usage__0__free": 0},
        {"machine_room__timestamp_seconds": 2},
        {"machine_room__problems": {"cpu": "second wording"}},
    ],
)
def test_what_moves_all_the_time_is_no_change(moved: dict[str, object]) -> None:
    assert digest(changed(**moved)) == digest(FACTS)
    assert diff(FACTS, changed(**moved)) == []


@pytest.mark.parametrize(
    ("moved", "path"),
    [
        ({"host__info__hostname": "n2"}, "host.info.hostname"),
        ({"network__interfaces__0__addrs": []}, "network.interfaces.0.addrs"),
        ({"network__default_ipv4": "192.0.2.7"}, "network.default_ipv4"),
        ({"memory__virtual__total": 200}, "memory.virtual.total"),
        ({"memory__virtual__wired": 1}, "memory.virtual.wired"),
        ({"machine_room__problems": {}}, "machine_room.problems.cpu"),
        ({"machine_room__additional_facts": {"site": "n"}}, "machine_room.additional_facts"),
    ],
)
def test_everything_else_is_a_change_and_is_named(moved: dict[str, object], path: str) -> None:
    assert digest(changed(**moved)) != digest(FACTS)
    assert diff(FACTS, changed(**moved)) == [path]


def test_a_builder_can_name_further_moving_facts() -> None:
    before, after = (compose({}, {"additional_facts": {"queue": n}}, volatile=("machine_room.additional_facts.queue",),
                             max_bytes=1 << 20) for n in (1, 2))  # fmt: skip
    assert before.digest == after.digest
    assert before.encoded != after.encoded


def test_the_list_of_changes_is_bounded() -> None:
    assert len(diff({str(n): n for n in range(500)}, {}, most=50)) == 50


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=5), json_values, max_size=4)


@given(documents)
def test_equal_facts_have_equal_bytes_whatever_their_order(facts: dict[str, object]) -> None:
    assert encode(dict(reversed(facts.items()))) == encode(facts)
    assert json.loads(encode(facts)) == facts


@given(documents, documents)
def test_there_is_a_difference_exactly_when_the_digest_differs(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert bool(diff(one, other, ())) == (digest(one, ()) != digest(other, ()))
    assert diff(one, one) == []


@given(documents, documents)
def test_merging_keeps_both_sides_and_changes_neither(base: dict[str, object], over: dict[str, object]) -> None:
    copies = copy.deepcopy((base, over))
    merged = merge(base, over)
    assert (base, over) == copies
    assert merged.keys() == base.keys() | over.keys()
    assert merge(merged, over) == merged


def test_groups_that_were_not_gathered_keep_their_skeleton() -> None:
    facts = compose({"cpu": {"info": [1]}}, {"identity": "n1"}, max_bytes=1 << 20).facts
    assert facts["cpu"] == {"info": [1]}
    assert facts["memory"] == {"virtual": {}, "swap": {"info": {}, "devices": []}}
    assert facts["network"] == {"addresses": [], "interfaces": [], "default_ipv4": "", "default_ipv6": ""}


def test_a_report_that_is_too_large_loses_its_largest_part_and_says_so() -> None:
    room = {"identity": "n1", "additional_facts": {"blob": "x" * 50_000}}
    snapshot = compose({"cpu": {"info": [{"modelName": "x"}]}}, room, max_bytes=20_000)
    assert len(snapshot.encoded) <= 20_000
    assert "additional_facts" not in snapshot.facts["machine_room"]
    assert snapshot.facts["cpu"] == {"info": [{"modelName": "x"}]}
    assert "left out" in snapshot.problems["machine_room.additional_facts"]


def test_several_parts_go_when_one_is_not_enough() -> None:
    groups = {"cpu": {"info": ["x" * 30_000]}, "network": {"interfaces": ["y" * 40_000], "addresses": []}}
    room = {"identity": "n1", "provisioning": {"extended_claims": {"z": "z" * 50_000}}}
    snapshot = compose(groups, room, max_bytes=16_384)
    assert len(snapshot.encoded) <= 16_384
    assert set(snapshot.problems) == {"cpu", "network", "machine_room.provisioning"}
    assert snapshot.facts["machine_room"]["identity"] == "n1"


def test_a_flood_of_reasons_gives_way_too() -> None:
    room = {"identity": "n1", "problems": {f"part {n}": "y" * 100 for n in range(1000)}}
    snapshot = compose({}, room, max_bytes=16_384)
    assert len(snapshot.encoded) <= 16_384
    assert list(snapshot.problems) == ["machine_room.problems"]


def test_every_moving_path_is_a_path() -> None:
    assert all(path and ".." not in path and not path.startswith(".") for path in VOLATILE)
