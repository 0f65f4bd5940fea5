"""What expressions see in watchers, plugin matches and hierarchical data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mra.machines.expressions import EvaluationError, compile_expression
from mra.machines.expressions.environments import (
    HIERA_NAMES,
    MATCH_NAMES,
    WATCHER_NAMES,
    hiera_environment,
    match_environment,
    watcher_environment,
)

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {"os": {"name": "debian", "cores": 4, "load": 0.5}, "big": 1_500_000, "roles": ["db", "web"], "null": None}
DATA = {
    "level": 12,
    "metric": {
        "tank": {"labels": {"format": "choria"}, "metrics": {"level": 80.5}, "time": 1773480061},
        "odd": "text",
    },
}


def in_watcher(source: str, data: dict[str, object] | None = None) -> Any:
    environment = watcher_environment(data=DATA if data is None else data, facts=FACTS, identity="edge-07.example")
    return compile_expression(source, WATCHER_NAMES).evaluate(environment)


def in_match(source: str) -> Any:
    environment = match_environment(identity="edge-07.example", facts=FACTS)
    return compile_expression(source, MATCH_NAMES).evaluate(environment)


def in_hiera(source: str) -> Any:
    return compile_expression(source, HIERA_NAMES).evaluate(hiera_environment(facts=FACTS))


def test_a_watcher_sees_data_facts_and_the_identity() -> None:
    assert in_watcher("data.level > 10 and identity == 'edge-07.example'") is True
    assert in_watcher("get_fact('os.name') == facts.os.name") is True
    assert in_watcher("data.absent") is None


def test_an_absent_fact_is_nil_and_cannot_be_compared_with_a_number() -> None:
    assert in_watcher("get_fact('absent') == nil and get_fact('null') == nil") is True
    with pytest.raises(EvaluationError, match="nil < int"):
        in_watcher("get_fact('absent') < 3")


def test_facts_are_floats_as_go_decodes_them() -> None:
    assert in_watcher("type(get_fact('os.cores'))") == "float"
    assert in_watcher("string(get_fact('big'))") == "1.5e+06"
    assert in_watcher("get_fact('os.cores') == 4") is True


def test_a_stored_sample_is_found_under_both_spellings() -> None:
    assert in_watcher("data.metric.tank.Metrics.level == data.metric.tank.metrics.level") is True
    assert in_watcher("data.metric.tank.Labels.format + string(data.metric.tank.Time)") == "choria1773480061"
    assert in_watcher("data.metric.odd") == "text"
    assert in_watcher("data.metric", {"metric": 5}) == 5
    assert set(DATA["metric"]["tank"]) == {"labels", "metrics", "time"}  # type: ignore[index]


@pytest.mark.parametrize("path", ["'a.{b,c}'", "1", "nil"])
def test_a_path_that_cannot_be_followed_is_a_reason(path: str) -> None:
    with pytest.raises(EvaluationError):
        in_watcher(f"get_fact({path})")


def test_a_match_tests_the_identity_with_a_pattern() -> None:
    assert in_match("identity('^edge-[0-9]+')") is True
    assert in_match("identity('example')") is True
    assert in_match("identity('^07')") is False


def test_a_wrong_pattern_for_the_identity_matches_no_node() -> None:
    assert in_match("identity('(')") is False


def test_a_match_looks_for_files_directories_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "some-tool"
    tool.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert in_match("has_command('some-tool')") is False
    tool.chmod(0o755)
    assert in_match("has_command('some-tool')") is True
    assert in_match(f"has_file('{tool}') and has_file('{tmp_path}') and has_directory('{tmp_path}')") is True
    assert in_match(f"has_directory('{tool}') or has_file('{tmp_path}/absent')") is False


@pytest.mark.parametrize("path", ["'\\x00'", "'" + "x" * 5_000 + "'", "''"])
def test_a_path_that_cannot_exist_does_not_exist(path: str) -> None:
    assert in_match(f"has_file({path} + '/x') or has_directory({path} + '/x') or has_command({path})") is False


def test_a_match_needs_strings() -> None:
    for source in ("has_file(1)", "identity(nil)", "has_command([])", "has_directory({})"):
        with pytest.raises(EvaluationError, match="a string is needed"):
            in_match(source)


def test_hierarchical_data_looks_facts_up() -> None:
    assert in_hiera("lookup('facts.os.name') | upper()") == "DEBIAN"
    assert in_hiera("lookup('facts.roles.1')") == "web"
    assert in_hiera("lookup('facts.os.load')") == 0.5
    assert in_hiera("type(lookup('facts.big'))") == "int"


def test_a_missing_key_is_an_empty_string_or_the_default() -> None:
    assert in_hiera("lookup('facts.absent')") == ""
    assert in_hiera("lookup('facts.absent', 5)") == 5
    assert in_hiera("lookup('absent', nil)") == ""
    assert in_hiera("lookup('facts.null', 5)") is None
