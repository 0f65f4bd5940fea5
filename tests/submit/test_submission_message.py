"""What a submission may be, and the record that it becomes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.outbox.record import Draft, Lane, wire_headers
from mra.submit.message import MAX_PAYLOAD, Submission, check, draft_of, scoped_id

GOOD = Submission("app.metrics", b'{"cpu":1}', id="order-17")


def accepted(submission: Submission, **context: object) -> Draft:
    known = {"identity": "n1.acme.example", "sender": "user app", "scope": "1000", "wall_ns": 1767261600000000000}
    return draft_of(submission, **{**known, **context})  # type: ignore[arg-type]


def test_a_submission_becomes_a_record_with_the_headers_of_choria() -> None:
    draft = accepted(replace(GOOD, reliable=True, priority=2, ttl=60.0, headers={"Content-Type": "text/json"}))
    assert draft == Draft(
        Lane.SUBMISSIONS,
        "app.metrics",
        b'{"cpu":1}',
        {
            "Content-Type": "text/json",
            "Choria-Priority": "2",
            "Choria-Created": "1767261600000000000",
            "Choria-Sender": "user app",
            "Choria-Identity": "n1.acme.example",
            "Choria-Reliable": "1",
        },
        id=scoped_id("1000", "order-17"),
        ttl=60.0,
    )


def test_an_unreliable_submission_does_not_say_reliable() -> None:
    assert "Choria-Reliable" not in accepted(GOOD).headers


def test_sender_and_identity_are_the_daemons_word() -> None:
    headers = accepted(replace(GOOD, sender="root, honestly")).headers
    assert (headers["Choria-Sender"], headers["Choria-Identity"]) == ("user app", "n1.acme.example")


def test_one_id_of_one_user_is_one_record_and_of_two_users_are_two() -> None:
    assert accepted(GOOD).id == accepted(replace(GOOD, payload=b"again")).id
    assert accepted(GOOD).id != accepted(GOOD, scope="1001").id
    assert accepted(replace(GOOD, id="1")).id != accepted(replace(GOOD, id="11")).id


def test_submissions_without_an_id_never_meet() -> None:
    assert Submission("a", b"1").id != Submission("a", b"1").id


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subject": ""}, "Subject"),
        ({"subject": "a..b"}, "empty part"),
        ({"subject": ".a"}, "empty part"),
        ({"subject": "a.*"}, "wildcard"),
        ({"subject": "a.>"}, "wildcard"),
        ({"subject": "a b"}, "space"),
        ({"subject": "a\nb"}, "control"),
        ({"subject": "a" * 2000}, "2000 bytes"),
        ({"subject": "checkpoint.n1-submissions"}, "checkpoint"),
        ({"payload": b""}, "empty"),
        ({"payload": bytes(MAX_PAYLOAD + 1)}, f"{MAX_PAYLOAD} or fewer"),
        ({"priority": -1}, "0 to 4"),
        ({"priority": 5}, "0 to 4"),
        ({"ttl": 0.0}, "ttl"),
        ({"ttl": -1.0}, "ttl"),
        ({"ttl": math.nan}, "ttl"),
        ({"ttl": math.inf}, "ttl"),
        ({"ttl": 32 * 86400.0}, "ttl"),
        ({"tries": 0}, "tries"),
        ({"id": ""}, "Id"),
        ({"id": "x" * 129}, "Id"),
        ({"id": "a\nb"}, "Id"),
        ({"headers": {"Choria-Identity": "x"}}, "reserved"),
        ({"headers": {"NATS-Rollup": "sub"}}, "reserved"),
        ({"headers": {"nats-expected-last-sequence": "1"}}, "reserved"),
        ({"headers": {"mRA-Row": "x"}}, "reserved"),
        ({"headers": {"a b": "x"}}, "Header name"),
        ({"headers": {"a:b": "x"}}, "Header name"),
        ({"headers": {"": "x"}}, "Header name"),
        ({"headers": {"ä": "x"}}, "Header name"),
        ({"headers": {"a": "x\r\nNats-Rollup: all"}}, "line break"),
        ({"headers": {"a": "x\u2028y"}}, "line break"),
        ({"headers": {"a": "x\x85y"}}, "line break"),
        ({"headers": {"a": "\udcff"}}, "control character"),
        ({"headers": {"a": " x"}}, "space"),
        ({"headers": {"Site": "1", "site": "2"}}, "case only"),
        ({"headers": {f"h{n}": "x" for n in range(65)}}, "65 headers"),
        ({"headers": {"a": "x" * 9000}}, "9001 bytes"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(change: dict[str, object], word: str) -> None:
    with pytest.raises(BadInput, match=word) as refusal:
        accepted(replace(GOOD, **change))
    assert refusal.value.sentence.endswith(".")
    assert len(refusal.value.sentence.splitlines()) == 1


@pytest.mark.parametrize("change", [{"ttl": 0.1}, {"ttl": None}, {"priority": 0}, {"tries": 1}, {"headers": {"x": ""}},
                                    {"payload": bytes(MAX_PAYLOAD)}, {"subject": "größe.µ"}])  # fmt: skip
def test_what_is_unusual_but_possible_is_accepted(change: dict[str, object]) -> None:
    check(replace(GOOD, **change))


@given(
    subject=st.text(max_size=20) | st.just("app"),
    headers=st.dictionaries(st.text(st.characters(), max_size=8), st.text(st.characters(), max_size=12), max_size=4),
    id_=st.text(st.characters(), max_size=10),
)
@example(subject="app", headers={"x": "a\r\nb"}, id_="i")
def test_whatever_passes_can_stand_on_the_wire(subject: str, headers: dict[str, str], id_: str) -> None:
    try:
        draft = accepted(Submission(subject, b"x", headers=headers, id=id_))
    except BadInput:
        return
    lines = (wire_headers(draft.headers) or "").encode().decode().splitlines()
    assert len(lines) == len(headers) + 4
    assert [line.split(": ", 1)[0] for line in lines[: len(headers)]] == list(headers)
    assert not any(part in ("", "*", ">") for part in subject.split("."))
