"""The customers' files: two tools at once, a kill at any write, and damage leave customers whole or absent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from mra.durable import replace_file
from mra.errors import BadInput, Refused
from mra.saas.directory import Directory
from mra.saas.registry import Customer, Registry
from mra.saas.server_config import Listen
from mra.saas.setup import Setup
from mra.tokens import nats
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_800_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    directory = Directory(tmp_path / "saas")
    Setup(directory, NOW).run("saas", Listen())
    return Registry(directory)


def user() -> str:
    return KeyPair.generate(Kind.USER).public


def at_once(count: int, work: Callable[[int], object]) -> list[BaseException]:
    """Run `work(number)` in threads that start together; what they raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(count)

    def one(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_many_tools_adding_one_customer_make_one(registry: Registry) -> None:
    made: list[tuple[Customer, bool]] = []
    assert at_once(8, lambda _: made.append(registry.add("acme", None, NOW))) == []
    assert len({customer.account for customer, _ in made}) == 1
    assert sum(new for _, new in made) == 1


def test_changes_made_at_once_all_count(registry: Registry) -> None:
    registry.add("acme", None, NOW)

    def deny(number: int) -> None:
        registry.change(
            "acme", lambda one: msgspec.structs.replace(one, denied_nodes=(*one.denied_nodes, f"n{number}"))
        )

    assert at_once(8, deny) == []
    assert sorted(registry.get("acme").denied_nodes) == [f"n{number}" for number in range(8)]


def test_a_token_issued_while_its_node_is_denied_is_refused_or_revoked(registry: Registry) -> None:
    registry.add("acme", None, NOW)
    issued: list[str] = []

    def race(number: int) -> None:
        if number == 3:
            registry.change("acme", lambda one: msgspec.structs.replace(one, denied_nodes=("n1",)))
            return
        try:
            issued.append(registry.issue("acme", "n1", user(), now=NOW, expires=None))
        except Refused:
            return

    assert at_once(8, race) == []
    revoked = registry.claims(registry.get("acme")).nats.get("revocations", {})  # none, if every one was refused
    assert {nats.decode(token).subject for token in issued} == set(revoked)


def test_killed_at_any_write_a_customer_is_whole_or_absent(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for last in range(3):
        left = [last]

        def write(path: Path, data: bytes, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replace_file(path, data)

        with monkeypatch.context() as patch:
            patch.setattr("mra.saas.directory.replace_file", write)
            if last < 2:
                with pytest.raises(KeyboardInterrupt):
                    registry.add(f"c{last}", None, NOW)
                assert registry.all() == []
            else:
                registry.add(f"c{last}", None, NOW)
    for last in range(3):
        registry.add(f"c{last}", None, NOW)
        token = nats.decode(registry.issue(f"c{last}", "n1", user(), now=NOW, expires=None))
        assert token.issuer == registry.get(f"c{last}").signer  # the key beside it is the one that it names
    assert len(registry.all()) == 3


def test_what_a_kill_leaves_of_a_removed_customer_goes_with_the_next(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "globex"):
        registry.add(name, None, NOW)

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mra.saas.registry.shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            registry.remove("acme")
    assert [one.name for one in registry.all()] == ["globex"]
    registry.remove("globex")
    assert list((tmp_path / "saas" / "customers").iterdir()) == []
    assert sorted(registry.names().values()) == ["acme (removed)", "globex (removed)"]


@pytest.mark.parametrize("damage", [b"", b"null", b"\xff", b'{"name":"acme"}', b"[" * 100_000])
def test_a_damaged_customer_is_named_and_not_taken_for_absent(
    registry: Registry, tmp_path: Path, damage: bytes
) -> None:
    registry.add("acme", None, NOW)
    (tmp_path / "saas" / "customers" / "acme" / "customer.json").write_bytes(damage)
    for call in (lambda: registry.get("acme"), registry.all, lambda: registry.add("acme", None, NOW)):
        with pytest.raises(BadInput, match=r"customer\.json is damaged"):
            call()


def test_a_token_is_for_the_node_and_says_nothing_of_its_own(registry: Registry) -> None:
    customer, _ = registry.add("acme", None, NOW)
    public = user()
    token = nats.decode(registry.issue("acme", "n1", public, now=NOW, expires=int(NOW) + 60))
    assert (token.name, token.subject, token.issuer_account, token.expires) == (
        "n1", public, customer.account, int(NOW) + 60,
    )  # fmt: skip
    assert set(token.nats) == {"issuer_account"}
    for wrong in (KeyPair.generate(Kind.ACCOUNT).public, "U", ""):
        with pytest.raises(Refused):
            registry.issue("acme", "n1", wrong, now=NOW, expires=None)


def test_a_site_has_one_seed_whoever_asks_first_and_no_other_site_has_it(registry: Registry) -> None:
    for name in ("acme", "globex"):
        registry.add(name, None, NOW)
    seeds: set[bytes] = set()
    assert at_once(8, lambda _: seeds.add(registry.site_seed("acme", "berlin"))) == []
    (seed,) = seeds
    assert len({seed, registry.site_seed("acme", "munich"), registry.site_seed("globex", "berlin")}) == 3
    for wrong in ("..", "a/b", "", "a" * 65):
        with pytest.raises(BadInput, match="name of a site"):
            registry.site_seed("acme", wrong)


def test_denying_a_node_revokes_its_other_keys_too(registry: Registry) -> None:
    registry.add("acme", None, NOW)
    first, second = user(), user()
    assert registry.record_user("acme", "n1", first) == frozenset()
    registry.record_user("acme", "n2", second)
    registry.change("acme", lambda customer: msgspec.structs.replace(customer, denied_nodes=("n1",)))
    assert registry.record_user("acme", "n2", second) == {first}
    assert set(registry.claims(registry.get("acme")).nats["revocations"]) == {first}
