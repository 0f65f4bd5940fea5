"""Whatever a configuration holds, it is settings that make sense or one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.settings import read_settings
from mra.settings.document import parse_document
from mra.settings.sections import build_settings
from mra.settings.values import Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.settings.model import Settings

FILE = Path("/etc/mra/agent.toml")
SAMPLE = (Path(__file__).parents[2] / "lab" / "agent" / "agent.toml").read_text()
KEYS = {
    "agent": ("name", "state"),
    "saas": ("urls", "user", "password_file", "nkey_file", "credentials_file", "tls_ca", "durability", "customer"),
    "provisioning": ("token", "tls_ca"),
    "outbox": ("max_bytes", "min_free", "ballast", "replay_window", "replay_bytes"),
    "uplink": ("retry_first", "retry_cap", "patience"),
    "facts": ("enabled", "refresh", "full", "skip"),
    "submit": ("enabled", "socket", "mode", "max_payload"),
    "machines": ("enabled", "directory", "signing_key", "deny", "text_files", "extra_ca", "overrides", "scan"),
    "lanes.events": ("max_age", "max_bytes", "overflow", "weight"),
}


def check(read: Callable[[], Settings], file: Path = FILE) -> None:
    """Either outcome, and nothing else; what is accepted can be computed with."""
    try:
        found, sentence = read(), None
    except BadInput as refused:
        found, sentence = None, refused.sentence
    if found:
        check_sense(found)
    if sentence:
        assert str(file) in sentence
        assert sentence.isprintable()
        assert sentence.endswith(".")
        assert len(sentence) < 1000


def parse(text: str) -> Settings:
    return build_settings(parse_document(text, FILE), Values(FILE))


def check_sense(result: Settings) -> None:
    sizes = [result.outbox.max_bytes, result.outbox.min_free, result.outbox.ballast, result.outbox.replay_bytes]
    sizes += [policy.max_bytes for policy in result.outbox.lanes.values()]
    assert all(0 <= size < 2**62 for size in sizes)
    ages = [policy.max_age for policy in result.outbox.lanes.values() if policy.max_age is not None]
    ages += [result.outbox.replay_window, result.uplink.patience]
    assert all(math.isfinite(age) and age >= 0 for age in ages)
    assert 0 < result.uplink.retry_first <= result.uplink.retry_cap
    assert result.state.is_absolute()
    assert "\0" not in str(result.submit.path)


numbers = st.one_of(st.sampled_from([math.nan, math.inf, -1, 0, 2**70, 1e300]), st.integers(), st.floats())
words = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[0-9]{1,30}(\.[0-9]{1,3})?(ms|s|m|h|d|w|B|KiB|TiB)", fullmatch=True),
    st.sampled_from(
        ["~", "~nosuchuser/x", "a\0b", "0660", "", "synced", "reject", "events", "nats://h:1", "nats://[", "s"]
    ),
)
values = st.recursive(st.one_of(numbers, words, st.booleans()), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def toml(value: object) -> str:
    """A value in TOML's notation; JSON's strings are TOML's, but for their surrogate pairs."""
    if isinstance(value, str):
        return "".join(rf"\U{ord(letter):08x}" for letter in value).join('""') if value else '""'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, float) else json.dumps(value)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Tables as they should be, with some keys set to anything."""
    tables: dict[str, dict[str, object]] = {"agent": {"name": "site1", "state": "s"}, "saas": {"urls": ["nats://h:1"]}}
    for table, key in draw(
        st.lists(st.sampled_from([(t, k) for t, keys in KEYS.items() for k in keys]), min_size=1, max_size=4)
    ):
        tables.setdefault(table, {})[key] = draw(values)
    return "".join(f"[{table}]\n{lines(keys)}" for table, keys in tables.items())


def lines(keys: dict[str, object]) -> str:
    return "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())


@settings(max_examples=400, deadline=None)
@given(documents())
def test_any_value_of_any_key_is_taken_or_refused(text: str) -> None:
    check(lambda: parse(text))


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """The sample with pieces replaced, repeated or gone."""
    text = SAMPLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 1, 5, 40, 400]))
        piece = draw(st.one_of(st.text(max_size=5), st.just(text[start:end] * 2), st.sampled_from('[]{}".=\n')))
        text = text[:start] + piece * draw(st.sampled_from([1, 1, 2, 300])) + text[end:]
    return text


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_a_damaged_file_is_taken_or_refused(text: str) -> None:
    check(lambda: parse(text))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
@example("a" + ".a" * 30_000 + "=1")
@example("x=" + "[" * 30_000)
@example("x=" + "9" * 30_000)
def test_any_text_is_taken_or_refused(text: str) -> None:
    check(lambda: parse(text))


def test_any_bytes_are_taken_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    (tmp_path / "acme.password").write_text("secret")

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(st.binary(), st.tuples(st.integers(0, len(SAMPLE)), st.binary(max_size=4))))
    def look(what: bytes | tuple[int, bytes]) -> None:
        whole = SAMPLE.encode()
        file.write_bytes(what if isinstance(what, bytes) else whole[: what[0]] + what[1] + whole[what[0] :])
        check(lambda: read_settings(file), file)

    look()
