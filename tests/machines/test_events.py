from __future__ import annotations

import json

import jsonschema
import pytest

from mra.machines.events import Origin, transition_event, watcher_event
from mra.machines.states import Moved, StateMachine
from mra.outbox.record import Lane, check_draft
from tests.machines.schema_defects import DEFECTS
from tests.machines.schemas import assert_valid, corrected, needs_schemas, published

ORIGIN = Origin("edge-07.plant.example", "pump_guard", "1.4.0", "0d5b1f6e-8b0a-4d1c-9f43-5b7a1c2e9d10")
AT = 1_773_480_005_250_000_000
STEP = Moved(StateMachine("refill", {}), "pressure_low", "steady", "refill")


def body(draft):
    check_draft(draft)
    assert draft.lane is Lane.EVENTS
    return json.loads(draft.body)


def test_a_transition_has_the_payload_that_consumers_know():
    draft = transition_event(ORIGIN, STEP, AT)
    event = body(draft)
    assert draft.subject == "machine.transition"
    assert list(event["data"].items()) == [
        ("protocol", "io.choria.machine.v1.transition"),
        ("identity", "edge-07.plant.example"),
        ("id", "0d5b1f6e-8b0a-4d1c-9f43-5b7a1c2e9d10"),
        ("version", "1.4.0"),
        ("timestamp", 1773480005),
        ("machine", "pump_guard"),
        ("transition", "pressure_low"),
        ("from_state", "steady"),
        ("to_state", "refill"),
    ]
    assert (event["source"], event["subject"]) == ("io.choria.machine", "edge-07.plant.example")
    assert event["id"] == draft.id


def test_a_watcher_event_starts_with_the_common_keys_in_order():
    draft = watcher_event(ORIGIN, "kv", "desired", {"state": "unchanged", "bucket": "CONFIG"}, AT)
    assert draft.subject == "machine.watcher.kv.state"
    assert list(body(draft)["data"]) == [
        *("protocol", "identity", "id", "version", "timestamp", "type", "machine", "name", "state", "bucket")
    ]


def test_every_event_has_an_id_and_a_time_of_its_own():
    events = [body(watcher_event(ORIGIN, "kv", "w", {})) for _ in range(3)]
    assert len({event["id"] for event in events}) == 3
    assert all(event["data"]["id"] == ORIGIN.instance for event in events)
    assert all(event["time"].endswith("Z") for event in events)


@needs_schemas
def test_a_transition_fits_the_published_schema():
    assert assert_valid(body(transition_event(ORIGIN, STEP, AT)))


@needs_schemas
@pytest.mark.parametrize(
    ("type_", "state"),
    [
        ("exec", {"command": "./probe.sh", "previous_outcome": "unknown", "previous_run_time": 0}),
        ("file", {"path": "/srv/limits.json", "previous_outcome": "changed"}),
        ("schedule", {"state": "on"}),
    ],
)
def test_watcher_events_fit_the_published_schemas(type_, state):
    assert assert_valid(body(watcher_event(ORIGIN, type_, "w", state, AT)))


@needs_schemas
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.defect)
def test_each_listed_defect_is_one(defect):
    events = {
        "machine/watcher/schedule/v1/state.json": ("schedule", {"state": "on"}),
        "machine/watcher/nagios/v1/state.json": (
            "nagios",
            {
                "plugin": "",
                "status": "NOTCHECKED",
                "status_code": 5,
                "output": "",
                "check_time": -62135596800,
                "perfdata": None,
                "runtime": 0.0,
                "history": [],
                "annotations": {},
            },
        ),
    }
    type_, state = events[defect.schema]
    data = body(watcher_event(ORIGIN, type_, "w", state, AT))["data"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, published(defect.schema))
    corrected(defect.schema).validate(data)
