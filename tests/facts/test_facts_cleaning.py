"""Whatever other people's code returns, the report is plain JSON without secrets, and says what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.facts.cleaning import DEEPEST, HIDDEN, MOST_VALUES, clean, reason
from mra.facts.snapshot import encode

SEED = "SUAM" + "A" * 54
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJuMSJ9.c2lnbmF0dXJl"


def cleaned(value: object) -> tuple[object, dict[str, str]]:
    problems: dict[str, str] = {}
    return clean(value, "extra", problems), problems


def test_plain_values_pass_unchanged() -> None:
    value = {"site": "north", "racks": [1, 2.5, None, True], "nested": {"empty": {}, "list": []}}
    assert cleaned(value) == (value, {})


@pytest.mark.parametrize("junk", [{1, 2}, object(), b"bytes", 1j, math.nan, math.inf, 2**64, -(2**63) - 1, print])
def test_junk_is_left_out_and_the_rest_is_kept(junk: object) -> None:
    found, problems = cleaned({"good": 1, "bad": junk, "list": [1, junk, 2]})
    assert found == {"good": 1, "list": [1, 2]}
    assert set(problems) == {"extra.bad", "extra.list.1"}


def test_names_have_to_be_strings() -> None:
    found, problems = cleaned({"good": 1, 7: 2, None: 3})
    assert found == {"good": 1}
    assert list(problems) == ["extra"]


def test_a_value_that_holds_itself_is_cut_off() -> None:
    loop: dict[str, object] = {"good": 1}
    loop["self"] = loop
    found, problems = cleaned(loop)
    assert isinstance(found, dict)
    assert found["good"] == 1
    assert any("nested" in why for why in problems.values())
    assert encode(found).count(b"self") <= DEEPEST


def test_a_value_without_end_is_cut_off() -> None:
    found, problems = cleaned({"good": 1, "many": [0] * (MOST_VALUES + 10)})
    assert isinstance(found, dict)
    assert len(found["many"]) < MOST_VALUES
    assert "first" in problems["extra"]


def test_reasons_do_not_flood_the_report() -> None:
    _, problems = cleaned([object()] * 1000)
    assert len(problems) == 20


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        SEED,
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\ncut short",
    ],
)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    found, problems = cleaned({"note": f"use {secret} here", "list": [secret]})
    assert found == {"note": f"use {HIDDEN} here" if "cut short" not in secret else f"use {HIDDEN}", "list": [HIDDEN]}
    assert set(problems) == {"extra.note", "extra.list.0"}


@pytest.mark.parametrize("name", ["password", "db_password", "API-TOKEN", "server_seed", "Private_Key", "passwd"])
def test_what_is_named_like_a_secret_is_hidden(name: str) -> None:
    found, problems = cleaned({name: "hunter2"})
    assert found == {name: HIDDEN}
    assert "hunter2" not in repr(problems)


@pytest.mark.parametrize("name", ["server_seed_file", "token_fingerprint", "public_key", "tokens", "seeds_planted"])
def test_names_that_only_resemble_secrets_pass(name: str) -> None:
    assert cleaned({name: "value"}) == ({name: "value"}, {})


def test_passwords_in_addresses_are_hidden() -> None:
    assert cleaned("nats://user:pass@saas.example:4222")[0] == f"nats://{HIDDEN}@saas.example:4222"


def test_file_names_that_are_no_utf8_can_be_sent() -> None:
    found, _ = cleaned({"disk\udcff": "mount\udcfe"})
    assert found == {"disk?": "mount?"}


def test_a_reason_is_one_short_line() -> None:
    assert reason("first\nsecond\t" + "x" * 1000).startswith("first second x")
    assert len(reason("x" * 1000)) == 200
    assert reason(f"bad token {JWT}") == f"bad token {HIDDEN}"


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.just(print)
)
anything = st.recursive(
    scalars | st.sets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    max_leaves=30,
)


@given(anything)
def test_anything_at_all_becomes_json(value: object) -> None:
    found, problems = cleaned(value)
    assert json.loads(encode(found)) == found
    assert all(isinstance(why, str) for why in problems.values())


class Hostile(Mapping[str, object]):
    """Promises more than it can hold, for ever."""

    def __getitem__(self, name: str) -> object:
        return self

    def __iter__(self):
        number = 0
        while True:
            number += 1
            yield f"n{number}"

    def __len__(self) -> int:
        return 1


def test_an_endless_mapping_ends() -> None:
    found, problems = cleaned(Hostile())
    assert isinstance(found, dict)
    assert problems
