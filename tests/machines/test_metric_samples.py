"""What a metric command printed, read as Choria reads it, and what becomes of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.prometheus import render
from mra.machines.samples import EMPTY, MOST_METRICS, Metrics, read_metrics


def read(output: str, **labels: str) -> Metrics:
    return read_metrics(output, labels, 1773480061, 0.5)


def test_choria_format_gives_labels_and_numbers() -> None:
    sample = read(' {"labels": {"line": "b"}, "metrics": {"lpm": 41.5}}', site="north")
    assert json.dumps(sample.as_json(), separators=(",", ":")) == (
        '{"labels":{"format":"choria","line":"b","site":"north"},'
        '"metrics":{"choria_runtime_seconds":0.5,"lpm":41.5},"time":1773480061}'
    )


def test_labels_of_the_watcher_go_before_those_of_the_output_and_those_before_the_preset() -> None:
    sample = read('{"labels": {"format": "own", "site": "output"}}', site="watcher")
    assert sample.labels == {"format": "own", "site": "watcher"}


@pytest.mark.parametrize(
    "output", ['{"LABELS": {"a": "b"}, "Metrics": {"m": 1}}', '{"labels":{"a":"b"},"metrics":{"m":1},"x":[]}']
)
def test_fields_count_in_any_case_and_others_are_ignored(output: str) -> None:
    sample = read(output)
    assert (sample.labels["a"], sample.values["m"]) == ("b", 1.0)


@pytest.mark.parametrize("output", ["{}", '{"labels": null, "metrics": null}'])
def test_nothing_inside_is_an_empty_sample(output: str) -> None:
    assert read(output).values == {"choria_runtime_seconds": 0.5}


def test_perfdata_gives_numbers_and_the_other_format_label() -> None:
    sample = read("OK|a=1 b=2.5s", site="north")
    assert sample.labels == {"format": "nagios", "site": "north"}
    assert sample.values == {"a": 1.0, "b": 2.5, "choria_runtime_seconds": 0.5}


@pytest.mark.parametrize("output", ["", "no bar", "[1]", "a|b|c"])
def test_output_without_numbers_is_an_empty_sample(output: str) -> None:
    assert read(output).values == {"choria_runtime_seconds": 0.5}


@pytest.mark.parametrize(
    "output",
    [
        "{",
        "{nonsense}",
        '{"metrics": {"m": "1"}}',
        '{"metrics": {"m": true}}',
        '{"metrics": {"m": null}}',
        '{"metrics": {"m": NaN}}',
        '{"metrics": {"m": 1e999}}',
        '{"metrics": {"m": 1' + "0" * 400 + "}}",
        '{"metrics": [1]}',
        '{"labels": {"a": 1}}',
        '{"labels": "a"}',
        '{"metrics": ' + '{"m":' * 5000 + "1" + "}" * 5001,
        json.dumps({"metrics": {f"m{n}": n for n in range(MOST_METRICS + 1)}}),
        '{"metrics": {"m": 1}} and more',
    ],
)
def test_output_that_begins_as_json_and_is_none_is_one_sentence(output: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read(output)
    assert len(refusal.value.sentence.splitlines()) == 1
    assert len(refusal.value.sentence) < 300


def test_prometheus_names_follow_choria() -> None:
    sample = Metrics({"Site Name": 'North, "1"'}, {"Flow": 2.5}, 1)
    assert render(sample.families("My Pump")).splitlines() == [
        "# HELP choria_machine_metric_watcher_my_pump_Flow Choria Metric",
        "# TYPE choria_machine_metric_watcher_my_pump_Flow gauge",
        'choria_machine_metric_watcher_my_pump_Flow{site_name="north___1_"} 2.5',
    ]


def test_graphite_gets_a_line_for_each_number_and_the_run_time() -> None:
    sample = read('{"metrics": {"lpm": 41.5}}')
    assert sample.graphite("choria.flow", 0.25) == (
        "choria.flow.lpm 41.500000 1773480061\nchoria.flow.runtime 0.250000 1773480061\n"
    )


def test_a_name_cannot_forge_another_line() -> None:
    lines = read('{"metrics": {"a 1 1\\nevil": 2}}').graphite("p", 0.0).splitlines()
    assert lines == ["p.a_1_1_evil 2.000000 1773480061", "p.runtime 0.000000 1773480061"]


def test_before_the_first_sample_there_is_an_empty_one() -> None:
    assert EMPTY.as_json() == {"labels": {}, "metrics": {}, "time": 0}


json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["labels", "metrics", "Metrics", "time"]) | st.text(max_size=4), inner, max_size=4
        )
    ),
).map(json.dumps)


@given(st.text(st.characters()) | st.text(st.characters()).map("{".__add__) | json_text)
def test_any_output_is_a_sample_or_one_sentence(output: str) -> None:
    try:
        sample = read(output)
    except BadInput:
        return
    assert json.loads(json.dumps(sample.as_json(), allow_nan=False))
    assert render(sample.families("w"))


@given(st.text(st.characters()).filter(lambda text: not text.lstrip().startswith("{")))
def test_only_output_that_begins_with_a_brace_can_be_refused(output: str) -> None:
    assert read(output).labels == {"format": "nagios"}
