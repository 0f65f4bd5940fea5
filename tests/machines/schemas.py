"""Holds events against Choria's published schemas, where they are at hand."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validators

from tests.machines.schema_defects import DEFECTS

SCHEMAS = Path(__file__).parents[3] / "shared" / "interop" / "schemas" / "choria"
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"Choria's schemas are not at {SCHEMAS}")


def published(name: str) -> dict[str, Any]:
    """A schema as it was published."""
    schema: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
    # All say draft-04 or draft-07 without the fragment that names a dialect; what they use means the same in both.
    return {**schema, "$schema": "http://json-schema.org/draft-07/schema#"}


@cache
def corrected(name: str) -> Any:
    """A validator for a schema without its known defects."""
    schema = published(name)
    for defect in DEFECTS:
        if defect.schema == name:
            defect.correct(schema)
    return validators.validator_for(schema)(schema)


def schema_of(type_: str) -> str | None:
    """The schema of an event's `data`, None when none is published."""
    words = type_.removeprefix("io.choria.").split(".")
    match words:
        case ["machine", "v1", "transition"]:
            name = "machine/v1/transition.json"
        case ["machine", "watcher", watcher, "v1", "state"]:
            name = f"machine/watcher/{watcher}/v1/state.json"
        case ["lifecycle", "v1", event]:
            name = f"lifecycle/v1/{event}.json"
        case _:
            return None
    return name if (SCHEMAS / name).is_file() else None


def assert_valid(envelope: dict[str, Any]) -> bool:
    """Check an event: its envelope, and its data where a schema is published; whether there was one."""
    assert envelope["specversion"] == "1.0"
    assert envelope["datacontenttype"] == "application/json"
    assert envelope["type"] == envelope["data"]["protocol"]
    assert all(envelope[key] for key in ("id", "source", "subject", "time"))
    name = schema_of(envelope["type"])
    if name is not None:
        corrected(name).validate(envelope["data"])
    return name is not None
