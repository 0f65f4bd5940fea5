from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.archives.extract import extract
from mra.machines.document import from_plain
from mra.machines.manifest import load_manifest, read_node
from mra.machines.unsupported import UNSUPPORTED
from mra.machines.validate import validate
from mra.machines.watchers.base import Watcher
from mra.machines.watchers.exec import ExecWatcher
from mra.machines.watchers.registry import BUILTIN, registry

GOOD = """\
name: echo
version: 0.0.1
initial_state: INITIAL
transitions:
  - {name: rest, from: [INITIAL], destination: MAINTENANCE}
watchers:
  - {name: echo, type: exec, interval: 30s, state_match: [INITIAL], properties: {command: /bin/echo hello}}
"""
EXAMPLE = Path(__file__).parents[3] / "shared" / "interop" / "choria-example" / "echo-0.0.1.tgz"


def put(directory, text):
    directory.mkdir(parents=True)
    (directory / "machine.yaml").write_text(text)
    return directory


def test_a_good_machine_has_no_problems(tmp_path):
    (verdict,) = validate(put(tmp_path / "echo", GOOD), registry())
    assert (verdict.runs, verdict.sentences) == (True, [])


def test_all_problems_of_all_machines_are_listed(tmp_path):
    put(tmp_path / "a", GOOD.replace("command:", "comand:"))
    put(tmp_path / "b", GOOD.replace("0.0.1", '"1"'))
    (tmp_path / "c").mkdir()
    verdicts = validate(tmp_path, registry())
    assert [verdict.runs for verdict in verdicts] == [False, True, False]
    assert [sentence for verdict in verdicts for sentence in verdict.sentences] == [
        f"error: {tmp_path}/a/machine.yaml:7: watchers[0].properties.command: it is required; give it a value.",
        (
            f"advice: {tmp_path}/a/machine.yaml:7: watchers[0].properties.comand: nothing reads this;"
            " did you mean command."
        ),
        f"advice: {tmp_path}/b/machine.yaml:2: version: Choria's schema wants three numbers, like 1.0.3.",
        f"error: {tmp_path}/c/machine.yaml: cannot be read: no such file or directory.",
    ]


@pytest.mark.parametrize("type_", UNSUPPORTED)
def test_a_type_of_chorias_that_does_not_run_here_is_refused_with_what_to_use_instead(tmp_path, type_):
    (verdict,) = validate(put(tmp_path / "echo", GOOD.replace("type: exec", f"type: {type_}")), registry())
    assert not verdict.runs
    (sentence,) = verdict.sentences
    assert f"watchers[0].type: watcher type '{type_}' is not supported: {UNSUPPORTED[type_]}." in sentence


def test_an_embedder_may_bring_a_type_that_is_not_supported_otherwise():
    class GossipWatcher(ExecWatcher):
        kind = "gossip"

    assert load_manifest(GOOD.replace("type: exec", "type: gossip"), "machine.yaml", registry([GossipWatcher]))


def test_a_directory_without_machines_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"There is no machine.yaml in .*: name one that holds machines\."):
        validate(tmp_path, registry())
    with pytest.raises(BadInput, match="cannot be listed"):
        validate(tmp_path / "absent", registry())


@pytest.mark.skipif(not EXAMPLE.exists(), reason=f"Choria's example is not at {EXAMPLE}")
def test_the_published_example_is_read_without_a_word(tmp_path):
    extract(EXAMPLE, machines := tmp_path / "machines")
    (verdict,) = validate(machines, registry())
    assert verdict.sentences == []
    manifest = load_manifest((machines / "echo" / "machine.yaml").read_bytes(), "machine.yaml", registry())
    assert manifest.watchers[0].properties.timeout.seconds == 60


def test_embedders_can_add_types_but_not_replace_ours():
    class LevelWatcher(Watcher):
        kind = "level"

    class OtherExec(Watcher):
        kind = "exec"

    assert set(registry([LevelWatcher])) == {"level", *(watcher.kind for watcher in BUILTIN)}
    with pytest.raises(BadInput, match="two watcher types 'exec'"):
        registry([OtherExec])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(["1m", "{{ x", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("watcher", BUILTIN, ids=lambda watcher: watcher.kind)
@given(st.data())
def test_any_properties_of_any_type_of_watcher_are_read_or_refused(watcher, data):
    names = [field.name for field in fields(watcher.schema)]
    properties = data.draw(st.dictionaries(st.sampled_from(names), ANYTHING))
    entry = {"name": "w", "type": watcher.kind, "interval": "1m", "properties": properties}
    transition = {"name": "go", "from": ["up"], "destination": "up"}
    root = {"name": "pump", "version": "1.0.0", "initial_state": "up", "transitions": [transition], "watchers": [entry]}
    reading = read_node(from_plain(root), "program", registry())
    assert reading.manifest is not None or reading.problems
    assert all("\n" not in problem.sentence("m") for problem in reading.problems)
