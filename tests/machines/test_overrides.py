"""The file that overrides what nagios checks are told."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mra.machines.overrides import Overrides
from mra.machines.templates.nagios import expand_nagios


def test_the_file_is_read_again_whenever_it_changed(tmp_path):
    file = tmp_path / "overrides.yaml"
    overrides = Overrides(file)
    assert overrides() == {}
    file.write_text("check_tank: {warn: 20}\n")
    assert overrides() == {"check_tank": {"warn": 20}}
    file.write_text('{"check_tank": {"warn": 300}}')
    assert overrides() == {"check_tank": {"warn": 300}}
    assert expand_nagios('./check -w {{ o "warn" 5 }}', machine="check_tank", overrides=overrides()) == "./check -w 300"
    file.unlink()
    assert overrides() == {}


def test_without_a_file_nothing_is_overridden():
    assert Overrides(None)() == {}


def test_a_change_that_cannot_be_used_leaves_what_held_before(tmp_path):
    file = tmp_path / "overrides.yaml"
    overrides = Overrides(file)
    file.write_text("check_tank: {warn: 20}\n")
    assert overrides() == {"check_tank": {"warn": 20}}
    for broken in ("check_tank: {warn: 20\n", "- a list\n", "a: 1\na: 2\n", "x: " + "y" * 300_000):
        file.write_text(broken)
        assert overrides() == {"check_tank": {"warn": 20}}, broken[:20]
    file.unlink()
    os.mkfifo(file)
    assert overrides() == {"check_tank": {"warn": 20}}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_whatever_the_file_holds_a_check_gets_a_mapping(tmp_path, content):
    file = tmp_path / "overrides.yaml"
    file.write_bytes(content)
    assert isinstance(Overrides(file)(), dict)
