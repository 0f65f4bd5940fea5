"""The judge without a network: rules of the ledger, clocks, and whatever bytes a node or a helper can come up with."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.enrol import messages
from mra.enrol.sealing import Reader
from mra.enrol.shapes import Grant, Request, Statement
from mra.errors import BadInput, Refused, StoreBroken, Unavailable
from mra.provisioner import ledger as rules
from mra.provisioner import records
from mra.provisioner.admission import check_nonce, make_nonce, reply_subject
from mra.provisioner.authority import Authority
from mra.provisioner.decision import Judge, question
from mra.provisioner.entitlement import Entitlement, read_entitlement
from mra.provisioner.helper import HelperAnswer, ServerClaims, read_answer
from mra.provisioner.ledger import Case, NotYet, connect, open_ledger
from mra.tokens import choria, claims, nats, servers
from mra.tokens.choria import Provisioning
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind
from tests.harness.provisioning import Scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ISSUER, IDENTITY, OTHER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
USER, CONNECTION = (KeyPair(Kind.USER, bytes([number]) * 32) for number in (4, 5))
ACCOUNT, SIGNER = (KeyPair(Kind.ACCOUNT, bytes([number]) * 32) for number in (6, 7))
SECRET = bytes(32)
NOW = 1_800_000_000.0
DAY = 86400


class Customers:
    """Customers without files; `acme` is the only one."""

    name, account, suspended = "acme", ACCOUNT.public, False

    def get(self, name: str, /) -> Customers:
        if name != "acme":
            raise Refused(f"There is no customer {name}: ask the SaaS.")
        return self

    def issue(self, name: str, node: str, user: str, *, now: float, expires: int | None) -> str:
        return nats.encode(claims.scoped_user(node, user, account=self.account, expires=expires), SIGNER, now)

    def record_user(self, name: str, node: str, user: str) -> frozenset[str]:
        return frozenset()

    def site_seed(self, name: str, site: str) -> bytes:
        return hashlib.sha256(f"{name} {site}".encode()).digest()


def authority() -> Authority:
    return Authority(ISSUER, frozenset(), ACCOUNT.public, SIGNER, ("nats://saas:4222",))


def token(**extensions: Any) -> str:
    wanted = Provisioning(urls=("nats://saas:4222",), extensions={"customer": "acme", **extensions})
    return choria.mint(wanted, ISSUER, now=NOW, validity=DAY, random=os.urandom(16))


def statement(credential: str, reader: Reader, **changes: Any) -> Statement:
    said = {
        "nonce": make_nonce(SECRET, CONNECTION.public, NOW),
        "connection": CONNECTION.public,
        "credential": choria.read(credential).id,
        "request": "0" * 32,
        "identity": "n1",
        "public_key": IDENTITY.public,
        "public_nkey": USER.public,
        "reader": reader.public,
    }
    return Statement(**(said | changes))


def request(said: Statement, credential: str, key: SigningKey = IDENTITY) -> Request:
    asked = messages.read_ask(messages.make_request(said, credential, key, USER))
    assert isinstance(asked, Request)
    return asked


def case(**changes: Any) -> Case:
    entitled = {name: changes.pop(name) for name in ("customer", "token_id", "max_nodes") if name in changes}
    account = f"id of {entitled.get('customer', 'acme')}"
    said = {
        "nonce": "", "connection": "", "credential": "", "request": "0" * 32, "identity": "n1",
        "public_key": IDENTITY.public, "public_nkey": USER.public, "reader": "",
    }  # fmt: skip
    entitlement = Entitlement(**({"token_id": "t1", "customer": "acme", "role": ""} | entitled))
    return Case(entitlement, Statement(**(said | changes)), account)


@asynccontextmanager
async def judging(path: Path, helper: Any = None, **options: Any) -> AsyncIterator[Judge]:
    async with open_ledger(path) as ledger:
        yield Judge(authority(), Customers(), ledger, helper or Scripted(), SECRET, now=lambda: NOW, **options)


def nodes(path: Path) -> list[dict[str, Any]]:
    with closing(connect(path)) as connection:
        return records.nodes(connection)


async def test_a_request_is_answered_to_its_reader_and_kept(tmp_path):
    reader, credential = Reader(), token(role="tools")
    said = statement(credential, reader)
    async with judging(tmp_path / "p.db") as judge:
        box = await judge.answer(CONNECTION.public, request(said, credential))
    answer, signer = messages.open_answer(box, reader, said)
    assert (answer.outcome, signer) == ("enrolled", ISSUER.public)
    assert [(node["identity"], node["role"]) for node in nodes(tmp_path / "p.db")] == [("n1", "tools")]
    assert (tmp_path / "p.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"nonce": ""}, "nonce"),
        ({"nonce": "1800000100.00"}, "nonce"),
        ({"nonce": make_nonce(SECRET, "UOTHER", NOW)}, "nonce"),
        ({"nonce": make_nonce(SECRET, CONNECTION.public, NOW - 121)}, "too old"),
        ({"nonce": make_nonce(bytes([1] * 32), CONNECTION.public, NOW)}, "nonce"),
        ({"connection": "UOTHER"}, "another connection"),
        ({"identity": "a..b"}, "cannot be called"),
        ({"public_nkey": ACCOUNT.public}, "not of a user"),
    ],
)
async def test_a_statement_that_proves_nothing_gets_no_answer(tmp_path, changes, complaint):
    credential = token()
    async with judging(tmp_path / "p.db") as judge:
        with pytest.raises(Refused, match=complaint):
            await judge.answer(CONNECTION.public, request(statement(credential, Reader(), **changes), credential))
    assert nodes(tmp_path / "p.db") == []


@pytest.mark.parametrize("where", ["ledger", "registry"])
async def test_a_saas_that_cannot_decide_asks_the_node_to_come_back(tmp_path, monkeypatch, where):
    credential, reader = token(), Reader()
    said = statement(credential, reader)

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreBroken("The disk is sick.") if where == "ledger" else BadInput("A file is damaged.")

    async with judging(tmp_path / "p.db") as judge:
        monkeypatch.setattr(*((rules, "commit") if where == "ledger" else (Customers, "get")), broken)
        answer, _ = messages.open_answer(await judge.answer(CONNECTION.public, request(said, credential)), reader, said)
    assert (answer.outcome, answer.retry_after > 0) == ("failed", True)
    assert "damaged" not in answer.reason


@pytest.mark.parametrize("failure", [Unavailable("No."), RecursionError("too deep"), KeyError("customer")])
async def test_a_helper_that_fails_in_any_way_costs_the_node_a_pause(tmp_path, failure):
    credential, reader = token(), Reader()
    said = statement(credential, reader)
    async with judging(tmp_path / "p.db", Scripted(failure)) as judge:
        box = await judge.answer(CONNECTION.public, request(said, credential))
    answer, _ = messages.open_answer(box, reader, said)
    assert (answer.outcome, answer.retry_after > 0, nodes(tmp_path / "p.db")) == ("failed", True, [])


async def test_a_node_that_asks_without_pause_is_answered_without_asking_the_helper(tmp_path):
    credential, reader, helper = token(), Reader(), Scripted()
    outcomes = []
    async with judging(tmp_path / "p.db", helper, least=3600) as judge:
        for number in (1, 1, 2, 3):
            said = statement(credential, reader, request=str(number) * 32)
            box = await judge.answer(CONNECTION.public, request(said, credential))
            outcomes.append(messages.open_answer(box, reader, said)[0])
    assert [answer.outcome for answer in outcomes] == ["enrolled", "enrolled", "failed", "failed"]
    assert 3500 < outcomes[-1].retry_after <= 3600
    assert len(helper.asked) == 1


OUTCOMES = (
    st.builds(HelperAnswer, defer=st.booleans(), shutdown=st.booleans(), msg=st.text(max_size=50),
              configuration=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3),
              server_claims=st.builds(ServerClaims, ou=st.text(max_size=10), exp=st.integers(-10, 2**62)))
    | st.binary(max_size=100).map(lambda output: output)
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(OUTCOMES)
def test_whatever_a_helper_says_a_node_is_enrolled_by_a_clear_yes_only(tmp_path_factory, said_by_helper):
    path = tmp_path_factory.mktemp("ledger") / "p.db"

    async def helper(_: dict[str, Any]) -> HelperAnswer:
        await trio.lowlevel.checkpoint()
        return read_answer(said_by_helper) if isinstance(said_by_helper, bytes) else said_by_helper

    async def main() -> str:
        credential, reader = token(), Reader()
        said = statement(credential, reader)
        async with judging(path, helper) as judge:
            box = await judge.answer(CONNECTION.public, request(said, credential))
        answer, _ = messages.open_answer(box, reader, said)
        if answer.grant:
            assert NOW < answer.grant.expires < NOW + 6 * 366 * DAY
        return answer.outcome

    outcome = trio.run(main)
    if isinstance(said_by_helper, bytes):
        try:
            decided = read_answer(said_by_helper)
        except Unavailable:
            assert (outcome, nodes(path)) == ("failed", [])
            return
    else:
        decided = said_by_helper
    clear = not decided.defer and not decided.shutdown
    assert (outcome == "enrolled", len(nodes(path))) == (clear, int(clear))


FIELDS = st.sampled_from(["credential", "statement", "by_identity", "by_user", "by_previous"])
VALUES = st.text(max_size=80) | st.sampled_from(["00" * 64, "e30=", "eyJ9.e30.AA", ""])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, min_size=1))
def test_a_request_with_anything_changed_enrols_nobody(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("ledger") / "p.db"
    credential, reader = token(), Reader()
    said = statement(credential, reader)
    whole = msgspec.to_builtins(request(said, credential))
    if whole | changes == whole:
        return

    async def main() -> None:
        async with judging(path) as judge:
            try:
                asked = messages.read_ask(msgspec.json.encode({"ask": "enrol", **whole, **changes}))
                assert isinstance(asked, Request)
                box = await judge.answer(CONNECTION.public, asked)
            except Refused:
                return
            answer, _ = messages.open_answer(box, reader, said)
            # `by_previous` means nothing without a previous key.
            assert answer.outcome == ("enrolled" if set(changes) == {"by_previous"} else "refused")

    trio.run(main)
    if set(changes) != {"by_previous"}:
        assert nodes(path) == []


CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "purpose", "exp", "nbf", "iat", "jti", "chu", "tcs", "extensions",
                     "public_key", "identity"]),
    st.none() | st.integers(-(2**70), 2**70) | st.text(max_size=20)
    | st.dictionaries(st.text(max_size=8), st.integers())
    | st.sampled_from(["choria_provisioning", "choria_server", IDENTITY.public]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(CLAIMS, st.sampled_from([ISSUER, OTHER]), st.sampled_from(["EdDSA", "none", "RS256", "HS256"]))
def test_no_claims_are_understood_as_more_than_they_say(claims_, signer, algorithm):
    from mra.tokens import compact

    text = compact.join({"alg": algorithm, "typ": "JWT"}, msgspec.json.encode(claims_), signer.sign)
    try:
        found = read_entitlement(text, own=ISSUER.public, issuers=(), now=NOW)
    except Refused:
        return
    assert (signer, algorithm) == (ISSUER, "EdDSA")
    assert found.customer == (claims_["extensions"] or {}).get("customer")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.hex()))
def test_no_text_is_a_token(text):
    with pytest.raises(Refused):
        read_entitlement(text, own=ISSUER.public, issuers=(), now=NOW)


@pytest.mark.parametrize(
    "extensions",
    [
        {"nodes": "many"}, {"nodes": -1}, {"nodes": True}, {"nodes": 1.5}, {"identities": "web-*"},
        {"identities": [1]}, {"customer": 7}, {"customer": None},
    ],
)  # fmt: skip
def test_a_token_whose_limits_make_no_sense_is_refused(extensions):
    with pytest.raises(Refused):
        read_entitlement(token(**extensions), own=ISSUER.public, issuers=(), now=NOW)


def test_a_server_token_entitles_also_when_it_has_expired():
    server = servers.Server("n1", IDENTITY.public, "acme", "tools")
    text = servers.mint(server, ISSUER, now=NOW - 900 * DAY, expires=int(NOW) - 800 * DAY, random=bytes(16))
    found = read_entitlement(text, own=ISSUER.public, issuers=(), now=NOW)
    assert (found.renews, found.identity, found.customer) == (True, "n1", "acme")
    with pytest.raises(Refused, match="nobody who may"):
        read_entitlement(text, own=OTHER.public, issuers={ISSUER.public}, now=NOW)


def test_the_helper_is_told_no_secret_of_the_token():
    wanted = Provisioning(urls=("nats://s",), extensions={"customer": "acme"}, secret="hush", password="hush-hush")
    text = choria.mint(wanted, ISSUER, now=NOW, validity=DAY, random=bytes(16))
    entitlement = read_entitlement(text, own=ISSUER.public, issuers=(), now=NOW)
    asked = question(Case(entitlement, case().statement, ""))
    assert "hush" not in str(asked)
    assert text not in str(asked)
    assert asked["jwt"]["extensions"] == {"customer": "acme"}


@pytest.fixture
def book(tmp_path):
    with closing(connect(tmp_path / "p.db")) as connection:
        yield connection


def grant(of: Case, expires: float = NOW + 90 * DAY) -> Grant:
    account, identity = of.key
    return Grant(of.entitlement.customer, account, identity, of.name, "", "s", "n", (), {}, int(NOW), int(expires))


def test_two_services_that_decide_at_once_give_one_answer(book):
    first, second = grant(case()), grant(case(), NOW + DAY)
    assert rules.commit(book, case(), first, NOW) == first
    assert rules.commit(book, case(), second, NOW) == first


def test_an_answer_that_has_expired_is_given_anew(book):
    rules.commit(book, case(), grant(case(), NOW + 10), NOW)
    assert rules.check(book, case(), NOW + 9) is not None
    assert rules.check(book, case(), NOW + 10) is None


def test_a_name_belongs_to_one_identity_of_a_customer(book):
    dotted = case(identity="a.b", public_key=OTHER.public)
    same = case(identity=dotted.name)
    rules.commit(book, dotted, grant(dotted), NOW)
    with pytest.raises(Refused, match="share its name"):
        rules.check(book, same, NOW)
    assert rules.check(book, case(identity=dotted.name, customer="globex"), NOW) is None


def test_a_use_of_a_token_outlives_its_node(book):
    limited = case(max_nodes=1)
    rules.commit(book, limited, grant(limited), NOW)
    records.forget_node(book, "id of acme", "n1", NOW)
    assert rules.check(book, case(max_nodes=1, public_key=OTHER.public), NOW) is None  # the same identity may return
    with pytest.raises(Refused, match="1 of 1"):
        rules.check(book, case(max_nodes=1, identity="n2"), NOW)


def test_a_failing_node_waits_longer_each_time_and_a_clock_that_stepped_locks_nobody_out(book):
    waits = [rules.fail(book, case(), "no", NOW) for _ in range(15)]
    assert waits[0] <= 4
    assert max(waits) <= rules.LONGEST_WAIT
    assert min(waits[-3:]) >= rules.LONGEST_WAIT / 2
    with pytest.raises(NotYet, match="no"):
        rules.check(book, case(), NOW)
    assert rules.check(book, case(), NOW + rules.LONGEST_WAIT) is None
    assert rules.check(book, case(), NOW - 50 * 365 * DAY) is None


def test_a_success_ends_the_waiting(book):
    rules.fail(book, case(), "no", NOW - 5)
    rules.commit(book, case(), grant(case()), NOW)
    assert records.waiting(book) == []


def test_a_token_is_revoked_once_and_for_all(book):
    records.revoke_token(book, "t1", NOW)
    records.revoke_token(book, "t1", NOW + 9)
    assert [one["revoked"] for one in records.tokens(book)] == [int(NOW)]
    with pytest.raises(Refused, match="revoked"):
        rules.check(book, case(), NOW)


def test_a_secret_stays_the_same(book, tmp_path):
    made = rules.secret(book, "nonce")
    with closing(connect(tmp_path / "p.db")) as again:
        assert rules.secret(again, "nonce") == made
        assert rules.secret(again, "other") != made


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path, book):
    book.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreBroken, match="newer version"):
        connect(tmp_path / "p.db")


def test_a_file_that_is_no_database_is_a_sentence(tmp_path):
    (tmp_path / "x.db").write_text("hello" * 1000)
    with pytest.raises(StoreBroken):
        connect(tmp_path / "x.db")


def test_a_nonce_is_for_one_connection_and_two_minutes():
    nonce = make_nonce(SECRET, "UA", NOW)
    check_nonce(SECRET, "UA", nonce, NOW + 119)
    for connection, moment in (("UB", NOW), ("UA", NOW + 121), ("UA", NOW - 10_000)):
        with pytest.raises(Refused):
            check_nonce(SECRET, connection, nonce, moment)


@given(st.text(max_size=80))
def test_no_other_text_is_a_nonce(text):
    with pytest.raises(Refused):
        check_nonce(SECRET, "UA", text, NOW)


@pytest.mark.parametrize("reply", ["", "_INBOX.UA", "_INBOX.UB.1", "_INBOX.UA.>", "_INBOX.UA.*", "_INBOX.UA.a b", "x"])
def test_answers_go_to_the_inbox_of_who_asks_only(reply):
    assert reply_subject("UA", "_INBOX.UA.12.3") == "_INBOX.UA.12.3"
    with pytest.raises(Refused):
        reply_subject("UA", reply)


def test_the_ledger_is_readable_by_hand(book, tmp_path):
    rules.commit(book, case(), grant(case()), NOW)
    with closing(sqlite3.connect(tmp_path / "p.db")) as plain:
        assert plain.execute("SELECT customer, identity FROM node").fetchall() == [("acme", "n1")]
