"""What a check remembers and reports, and the checks that need no plugin."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.machines import perfdata
from mra.machines.builtin_checks import StatusLimits, agent_status, goss_result, heartbeat
from mra.machines.checks import LONGEST_OUTPUT, CheckLog, Result, Status, go_time, status_of_exit
from mra.machines.prometheus import render

WALL = 1773480061_205110000
LIMITS = StatusLimits(last_message=3600, certificate=86400, token=86400)


@pytest.mark.parametrize(
    ("code", "name"),
    [(0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN"), (4, "SKIPPED"), (5, "NOTCHECKED"), (6, "UNKNOWN"),
     (127, "UNKNOWN"), (-9, "UNKNOWN")],
)  # fmt: skip
def test_exit_codes_mean_what_they_mean_to_choria(code: int, name: str) -> None:
    assert status_of_exit(code).name == name


def test_a_result_is_reported_with_its_history() -> None:
    log = CheckLog("check_tank")
    log.record(Result(Status.WARNING, "WARNING: 18 percent|level=18%;20;10\n"), "./check_tank -w 20", WALL, 0.0142)
    assert json.dumps(log.as_event({"team": "water"}), separators=(",", ":")) == (
        '{"plugin":"./check_tank -w 20","status":"WARNING","status_code":1,'
        '"output":"WARNING: 18 percent|level=18%;20;10","check_time":1773480061,'
        '"perfdata":[{"unit":"%","label":"level","value":18}],"runtime":0.0142,'
        '"history":[{"execute":"2026-03-14T09:21:01.20511Z","status":1,'
        '"perfdata":[{"unit":"%","label":"level","value":18}]}],"annotations":{"team":"water"}}'
    )


def test_a_check_that_never_ran_is_reported_as_choria_does() -> None:
    event = CheckLog("m").as_event({})
    assert (event["status"], event["status_code"], event["check_time"]) == ("NOTCHECKED", 5, -62135596800)
    assert (event["perfdata"], event["history"], event["annotations"]) == (None, [], {})


def test_without_numbers_perfdata_is_null_and_absent_from_the_history() -> None:
    log = CheckLog("m")
    log.record(Result(Status.OK, "fine"), "p", WALL, 0.1)
    assert log.as_event({})["perfdata"] is None
    assert log.history[0].keys() == {"execute", "status"}


def test_fifteen_results_are_remembered() -> None:
    log = CheckLog("m")
    for second in range(40):
        log.record(Result(Status.OK), "p", second * 10**9, 0.1)
    assert log.history[0]["execute"] == "1970-01-01T00:00:25Z"
    assert len(log.history) == 15


@pytest.mark.parametrize("code", [Status.SKIPPED, Status.NOTCHECKED])
def test_exit_codes_that_are_no_results_change_no_status(code: Status) -> None:
    log = CheckLog("m")
    log.record(Result(Status.CRITICAL, "bad"), "p", WALL, 0.1)
    log.record(Result(code, "what"), "p", WALL, 0.1)
    assert (log.status, len(log.history)) == (Status.CRITICAL, 1)


@pytest.mark.parametrize(
    ("state", "status"),
    [("WARNING", 1), ("critical", 2), ("Unknown", 3), ("ok", 0), ("MAINTENANCE", 0), ("skipped", 0)],
)
def test_the_state_of_the_machine_is_the_status(state: str, status: int) -> None:
    log = CheckLog("m", Status.NOTCHECKED)
    log.enter(state)
    assert log.status == status


def test_the_largest_event_fits_a_message() -> None:
    log = CheckLog("m")
    for _ in range(20):
        log.record(Result(Status.OK, "x" * 10**6 + "|" + "label=123456789.25ms " * 5000), "p", WALL, 0.1)
    assert len(log.output) == LONGEST_OUTPUT
    assert len(json.dumps(log.as_event({}))) < 400_000


@pytest.mark.parametrize(
    ("wall", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1, "1970-01-01T00:00:00.000000001Z"), (WALL, "2026-03-14T09:21:01.20511Z"),
     (-1, "1969-12-31T23:59:59.999999999Z")],
)  # fmt: skip
def test_times_are_written_as_go_writes_them(wall: int, text: str) -> None:
    assert go_time(wall) == text


def test_prometheus_starts_unknown_and_counts_what_happens() -> None:
    log = CheckLog('my "check"')
    assert 'watcher_status{name="my \\"check\\"",status="UNKNOWN"} 3' in render(log.families(WALL))
    log.record(Result(Status.OK), "p", WALL, 0.1)
    log.enter("OK")
    text = render(log.families(WALL))
    assert 'watcher_status{name="my \\"check\\"",status="OK"} 0' in text
    assert 'last_run_seconds{name="my \\"check\\""} 1773480061' in text
    assert 'checks_count{name="my \\"check\\""} 2' in text


@given(
    st.sampled_from(list(Status)),
    st.text(st.characters(exclude_categories=["Cs"])) | st.text("a=1|;%' ", max_size=40),
    st.floats(0, 1e6),
)
def test_whatever_a_plugin_prints_the_event_keeps_its_schema(status: Status, output: str, runtime: float) -> None:
    """The published schema, here in short; null perfdata and NOTCHECKED are its known defects."""
    log = CheckLog("m")
    log.record(Result(status, output), "p", WALL, runtime)
    event = json.loads(json.dumps(log.as_event({"a": "b"}), allow_nan=False))
    measurement = {
        "type": "object",
        "required": ["label", "value"],
        "properties": {
            "unit": {"enum": ["", "s", "ms", "us", "%", "B", "KB", "MB", "TB", "c"]},
            "label": {"type": "string"},
            "value": {"type": "number"},
        },
    }
    jsonschema.validate(event["perfdata"] or [], {"type": "array", "items": measurement})
    assert all(0 <= entry["status"] <= 3 for entry in event["history"])
    assert isinstance(event["check_time"], int)


def test_a_heartbeat_is_always_well() -> None:
    assert heartbeat(1773480061.9) == Result(Status.OK, "1773480061")


GOOD: dict[str, object] = {
    "identity": "n1", "uptime": 7200, "connected_server": "nats://saas:4222", "last_message": 9990,
    "provisioning_mode": False, "stats": {"total": 5, "passed": 4, "valid": 5},
    "certificate_expires": "2030-01-01T00:00:00Z", "token_expires": "0001-01-01T00:00:00Z",
}  # fmt: skip


def judged(**fields: object) -> Result:
    return agent_status({**GOOD, **fields}, LIMITS, now=10_000)


def test_an_agent_that_works_is_ok_with_its_numbers() -> None:
    result = judged()
    assert result.status is Status.OK
    numbers = {label: value for label, value, _ in perfdata.parse(result.output)}
    assert (numbers["uptime"], numbers["total_msgs"], numbers["passed_msgs"], numbers["last_msg"]) == (7200, 5, 4, 9990)
    assert numbers.keys() == {
        "uptime", "filtered_msgs", "invalid_msgs", "passed_msgs", "replies_msgs", "total_msgs", "ttlexpired_msgs",
        "last_msg", "cert_expire_seconds", "token_expire_seconds", "events",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"certificate_expires": "1970-01-01T03:00:00Z"}, "the certificate expires in 800 s"),
        ({"token_expires": "1970-01-01T03:00:00Z"}, "the token expires in 800 s"),
        ({"last_message": 6000}, "the last message came 4000 s ago"),
        ({"last_message": 0}, "the last message came 10000 s ago"),
        ({"connected_server": ""}, "not connected to any server"),
        ({"connected_server": "", "last_message": 0}, "the last message came"),
    ],
)
def test_an_agent_that_does_not_work_is_critical_for_the_first_reason(change: dict[str, object], words: str) -> None:
    result = judged(**change)
    assert result.status is Status.CRITICAL
    assert words in result.output
    assert len(perfdata.parse(result.output)) == 11


def test_an_agent_that_has_just_started_may_have_had_no_message() -> None:
    assert judged(last_message=0, uptime=60).status is Status.OK


@pytest.mark.parametrize(
    ("link", "status"),
    [
        ({"state": "connected", "server": "nats://saas:4222", "for": 9000.0}, Status.OK),
        ({"state": "connected", "server": None, "for": 1.0}, Status.OK),
        ({"state": "down", "server": "nats://saas:4222", "for": 9000.0}, Status.CRITICAL),
        ({"state": "down", "server": None, "for": 10.0}, Status.CRITICAL),
        ({}, Status.CRITICAL),
    ],
)
def test_the_agents_own_status_is_understood_too(link: dict[str, object], status: Status) -> None:
    assert agent_status({"uptime": 7200.5, "link": link}, LIMITS, now=10_000).status is status


def test_without_a_status_nothing_is_known() -> None:
    assert agent_status({}, LIMITS, 0).status is Status.UNKNOWN


@pytest.mark.parametrize("change", [{"uptime": "x"}, {"stats": []}, {"token_expires": "soon"}, {"connected_server": 1}])
def test_a_status_that_cannot_be_read_is_critical(change: dict[str, object]) -> None:
    assert judged(**change).status is Status.CRITICAL


GOSS = {"results": [], "summary": {"failed-count": 0, "summary-line": "Count: 2, Failed: 0", "test-count": 2,
                                   "total-duration": 6_000_000}}  # fmt: skip


def test_goss_is_ok_when_nothing_failed() -> None:
    assert goss_result(json.dumps(GOSS)) == Result(
        Status.OK, "OK: Count: 2, Failed: 0|checks=2;; failed=0;; runtime=0.006000s"
    )


def test_goss_is_critical_when_a_test_failed() -> None:
    failed = {"summary": {**GOSS["summary"], "failed-count": 1, "summary-line": "Count: 2, Failed: 1 | x"}}
    result = goss_result("a warning first\n" + json.dumps(failed) + "\nand one after")
    assert result.status is Status.CRITICAL
    assert [label for label, _, _ in perfdata.parse(result.output)] == ["checks", "failed", "runtime"]


@pytest.mark.parametrize("output", ["", "no such file | gossfile", "{", "{}", '{"summary": []}', '{"summary": {}}',
                                    '{"summary": {"test-count": "x"}}', "{" * 20_000])  # fmt: skip
def test_a_report_of_goss_that_cannot_be_read_is_unknown(output: str) -> None:
    result = goss_result(output)
    assert result.status is Status.UNKNOWN
    assert "|" not in result.output


def test_the_schema_in_short_is_the_published_one() -> None:
    published = Path(__file__).parents[3] / "shared/interop/schemas/choria/machine/watcher/nagios/v1/state.json"
    if not published.exists():
        pytest.skip("the published schemas are not at hand")
    log = CheckLog("check_tank")
    log.record(Result(Status.WARNING, "WARNING|level=18%"), "./check_tank", WALL, 0.01)
    common = {"protocol": "io.choria.machine.watcher.nagios.v1.state", "identity": "n1", "id": "i", "version": "1.0.0",
              "timestamp": 1, "type": "nagios", "machine": "m", "name": "check"}  # fmt: skip
    jsonschema.validate({**common, **log.as_event({})}, json.loads(published.read_text()))
