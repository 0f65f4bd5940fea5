"""The SaaS's streams: what they must be like, creating them, and saying where they are not."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mra.errors import BadInput, Refused, Unavailable
from mra.outbox.record import Lane
from mra.uplink.subjects import kind_of, stream_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from mra.aio.session import Session

LANE_STREAMS = ("MACHINE_ROOM_EVENTS", "MACHINE_ROOM_NODES", "MACHINE_ROOM_SUBMISSION")
GOVERNORS_STREAM = "MACHINE_ROOM_GOVERNORS"
_PATIENCE = 10.0

# What exactly-once delivery rests on, and what happens where it is otherwise.
_REQUIRED: tuple[tuple[str, Any, str], ...] = (
    ("retention", "limits", "another retention removes rows that consumers have seen, and checkpoints with them"),
    ("discard", "new", "`old` removes stored rows silently when the stream is full, instead of letting sites wait"),
    ("storage", "file", "memory storage forgets everything at a restart"),
    ("allow_atomic", True, "without atomic batches delivery is exactly once only within the duplicate window"),
    ("allow_direct", True, "agents read their checkpoint by direct get"),
    ("allow_rollup_hdrs", False, "any customer could empty the stream for all with `Nats-Rollup: all`"),
    ("allow_msg_ttl", True, "checkpoints would age out, and batches that keep them are refused"),
    ("sealed", False, "a sealed stream takes nothing"),
    ("no_ack", False, "without acknowledgements nothing can ever be settled"),
)

# What the slots of governors rest on.
_REQUIRED_FOR_GOVERNORS: tuple[tuple[str, Any, str], ...] = (
    ("discard", "new", "`old` frees slots that are held when the stream is full"),
    ("storage", "file", "memory storage frees all slots at a restart"),
    ("max_msgs_per_subject", 1, "what a slot was stays beside what it is"),
    ("allow_direct", True, "agents read slots by direct get"),
    ("allow_msg_ttl", True, "no slot can be taken, as a lease is a time to live"),
    ("allow_rollup_hdrs", False, "any customer could free the slots of all"),
    ("sealed", False, "a sealed stream takes nothing"),
)


def shipped_files() -> Traversable:
    """The folder of stream definitions: in an installed wheel, or the checkout's `lab/streams`."""
    installed = resources.files("mra") / "streams"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "lab" / "streams"


def definitions(folder: Path | None = None) -> list[dict[str, Any]]:
    """Stream definitions as `$JS.API.STREAM.CREATE` takes them. Raises BadInput for a folder without any."""
    source = folder or shipped_files()
    found = []
    for file in sorted(source.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json"):
            try:
                definition = json.loads(file.read_text(encoding="utf-8"))
                definition["name"]
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{file} is not a stream definition ({error}): correct it.") from error
            found.append(definition)
    if not found:
        raise BadInput(f"{source} holds no stream definitions: name a folder of JSON files.")
    return found


def deviations(config: dict[str, Any]) -> list[str]:
    """What about a stream's configuration breaks a promise, one sentence each. Pure."""
    governors = config["name"] == GOVERNORS_STREAM
    problems = [
        f"{config['name']}: {key} is {json.dumps(config.get(key))}, not {json.dumps(wanted)}: {reason}"
        for key, wanted, reason in (_REQUIRED_FOR_GOVERNORS if governors else _REQUIRED)
        if config.get(key, False) != wanted
    ]
    if not governors and config.get("max_msgs_per_subject", -1) > 0:
        problems.append(f"{config['name']}: max_msgs_per_subject removes stored rows of busy subjects silently")
    return problems


async def call_api(session: Session, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One JetStream API request. Raises Unavailable without JetStream, Refused for an error answer."""
    answer = await session.request(
        f"$JS.API.{verb}", b"" if body is None else json.dumps(body).encode(), patience=_PATIENCE
    )
    if answer.status == "503":
        raise Unavailable("JetStream does not answer: use the credentials of the account that owns the streams.")
    document: dict[str, Any] = json.loads(answer.body)
    if error := document.get("error"):
        raise Refused(f"JetStream refuses {verb}: {error.get('description')} ({error.get('err_code')}).")
    return document


async def apply(
    session: Session, wanted: list[dict[str, Any]], *, replicas: int | None = None
) -> list[tuple[str, str]]:
    """Create the streams, or bring existing ones to their definition; returns (name, created|updated|unchanged).

    How many servers hold each stream is a matter of the place, not of the definition: `replicas` says it, and without
    it an existing stream keeps what it has.
    """
    names = (await call_api(session, "STREAM.NAMES")).get("streams") or []
    done = []
    for written in wanted:
        definition = written if replicas is None else {**written, "num_replicas": replicas}
        name = definition["name"]
        if name not in names:
            await call_api(session, f"STREAM.CREATE.{name}", definition)
            done.append((name, "created"))
            continue
        current = (await call_api(session, f"STREAM.INFO.{name}"))["config"]
        if replicas is None:
            definition = {**definition, "num_replicas": current["num_replicas"]}
        if all(current.get(key, False) == value for key, value in definition.items()):
            done.append((name, "unchanged"))
            continue
        await call_api(session, f"STREAM.UPDATE.{name}", {**current, **definition})
        done.append((name, "updated"))
    return done


async def check(session: Session, names: tuple[str, ...] = (*LANE_STREAMS, GOVERNORS_STREAM)) -> list[str]:
    """Every deviation of the running streams; a missing stream is one."""
    problems = []
    for name in names:
        try:
            info = await call_api(session, f"STREAM.INFO.{name}")
        except Refused as error:
            problems.append(f"{name}: {error}")
            continue
        problems += deviations(info["config"])
    return problems


async def tidy(session: Session, names: tuple[str, ...] = LANE_STREAMS) -> dict[str, int]:
    """Remove every checkpoint but the newest of each lane; returns how many were removed, per stream.

    Safe beside delivering sites: `keep: 1` spares the newest whatever arrives meanwhile, and only that one is expected
    by a site's next batch. Raises Unavailable, and Refused for a missing stream; what was removed until then stays so.
    """
    return {name: await _tidy_stream(session, name) for name in names}


async def _tidy_stream(session: Session, name: str) -> int:
    removed = 0
    for subject in await _piled_up(session, name):
        answer = await call_api(session, f"STREAM.PURGE.{name}", {"filter": subject, "keep": 1})
        removed += answer["purged"]
    return removed


async def _piled_up(session: Session, name: str) -> list[str]:
    """Checkpoint subjects that hold more than one message. The server answers in pages."""
    found: list[str] = []
    seen = 0
    while True:
        asked = {"subjects_filter": "machine_room.*.*.checkpoint.*", "offset": seen}
        info = await call_api(session, f"STREAM.INFO.{name}", asked)
        subjects: dict[str, int] = info["state"].get("subjects") or {}
        found += [subject for subject, count in subjects.items() if count > 1]
        seen += len(subjects)
        if not subjects or seen >= info.get("total", 0):
            return found


async def purge_customer(session: Session, customer: str) -> None:
    """Remove every row and key of a customer, by its id. Raises Unavailable, Refused, LinkLost."""
    filters = {stream_of(lane): f"machine_room.{kind_of(lane)}.{customer}.>" for lane in Lane}
    filters[GOVERNORS_STREAM] = f"machine_room.governors.{customer}.>"
    filters["KV_CONFIG"] = f"$KV.CONFIG.{customer}.>"
    for stream, subject in filters.items():
        await call_api(session, f"STREAM.PURGE.{stream}", {"filter": subject})
