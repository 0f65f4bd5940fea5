"""Overrides in the commands of nagios watchers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.machines.templates import TemplateError, check_nagios, expand_nagios

OVERRIDES = {
    "pump_guard": {
        "warn": 20,
        "rate": 1_500_000.0,
        "on": True,
        "nothing": None,
        "list": [1, "a"],
        "args": "-a 'x' & <y> \"z\" 1+1",
        "deep": {"er": "value"},
    },
    "other": {"warn": 99},
}


def expanded(text: str) -> str:
    return expand_nagios(text, machine="pump_guard", overrides=OVERRIDES)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("check_pump -w 10", "check_pump -w 10"),
        ('check -w {{ o "warn" 10 }}', "check -w 20"),
        ('check -w {{ o "absent" 10 }}', "check -w 10"),
        ('{{ o "absent" 1e6 }}', "1e&#43;06"),
        ('{{ o "rate" 1 }}', "1500000"),
        ('{{ o "on" false }}', "true"),
        ('{{ o "nothing" "default" }}', ""),
        ('{{ o "deep.er" "" }}', "value"),
        ('{{ o "deep" "" }}', "{&#34;er&#34;:&#34;value&#34;}"),
        ('{{ o "args" "" }}', "-a &#39;x&#39; &amp; &lt;y&gt; &#34;z&#34; 1&#43;1"),
        ('<text> & "more" {{ "<x>" }}', '<text> & "more" &lt;x&gt;'),
        ('{{ o "warn" 1 | printf "%s%%" }}', "20%"),
    ],
)
def test_a_command_takes_overrides_escaped_for_html(template: str, text: str) -> None:
    check_nagios(template)
    assert expanded(template) == text


@pytest.mark.parametrize("overrides", [None, {}, {"other": {"warn": 1}}])
def test_without_overrides_there_are_defaults(overrides: dict[str, object] | None) -> None:
    assert expand_nagios('{{ o "warn" 10 }}', machine="pump_guard", overrides=overrides) == "10"


def test_lookup_is_not_available() -> None:
    with pytest.raises(TemplateError, match="no such function"):
        check_nagios('{{ lookup "facts.a" 1 }}')


@pytest.mark.parametrize("template", ['{{ o "warn" }}', "{{ o 1 2 }}", '{{ o "{a,b}" 1 }}'])
def test_a_wrong_call_is_one_sentence(template: str) -> None:
    with pytest.raises(TemplateError, match="template action"):
        expanded(template)


@given(st.text(), st.text())
def test_nothing_that_is_inserted_can_leave_a_quoted_word(path: str, value: str) -> None:
    with contextlib.suppress(TemplateError):
        printed = expand_nagios('{{ o "v" "" }}', machine="m", overrides={"m": {"v": value, path: 1}})
        assert not set(printed) & set("<>\"'")
