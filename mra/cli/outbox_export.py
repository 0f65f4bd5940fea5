"""`mra outbox export`: rows as JSON lines, whole or not at all."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from mra.cli.options import LANE, config_option, json_option
from mra.cli.outbox_access import reading
from mra.cli.outbox_sealed import export_sealed
from mra.errors import BadInput
from mra.outbox import inspection
from mra.outbox.record import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mra.outbox.sqlite import Connection

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@config_option
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default="-")
@click.option("--lane", type=LANE, help="Only this lane.")
@click.option("--all", "everything", is_flag=True, help="Delivered rows that are still kept, too.")
@click.option("--sealed", type=_FILE, help="Write them to this file, for the SaaS alone: a delivery by courier.")
@click.option("--to", type=_FILE, help="With --sealed: file with the SaaS's sealing key.  [default: saas.sealing_key]")
@click.option("--sign", type=_FILE, help="With --sealed: file with an Ed25519 seed.  [default: the enrolment's]")
@json_option
def export(
    config: Path, file: Path, lane: str | None, everything: bool, sealed: Path | None, to: Path | None,
    sign: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write rows that wait to FILE (or standard output) as JSON lines; bodies are base64.

    With --sealed they are written for the SaaS, which takes them with `mra saas import`: for sites that never come
    online. They go on waiting here until an answer (`mra outbox settle`) or the link shows that the SaaS has them; so
    long no policy sheds them, for outbox.export_hold at most. However they travel, each is stored once.

    \b
    Examples:
      mra outbox export rows.ndjson
      mra outbox export --lane events | jq -r '.body | @base64d'
      mra outbox export --sealed /media/stick/site1.sealed
    """
    if sealed is not None:
        if str(file) != "-":
            raise BadInput("--sealed names its own file: leave FILE away.")
        export_sealed(config, sealed, lane=lane, everything=everything, to=to, sign=sign, as_json=as_json)
        return
    if to or sign or as_json:
        raise BadInput("--to, --sign and --json go with --sealed.")
    lanes_ = [Lane(lane)] if lane else list(Lane)
    with reading(config) as connection:
        if str(file) == "-":
            count = _export(connection, lanes_, everything, sys.stdout)
        else:
            with _whole(file) as out:
                count = _export(connection, lanes_, everything, out)
    click.echo(f"{count} rows exported.", err=True)


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """A file for its owner alone that takes its name when it is complete, and is gone when it will not be."""
    part = None
    try:
        if file.exists() and not file.is_file():  # a device or a pipe, which must not be replaced
            with file.open("w", encoding="utf-8") as out:
                yield out
            return
        target = file.resolve()
        with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=".", encoding="utf-8", delete=False) as out:
            part = Path(out.name)
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        raise BadInput(f"Cannot write {file} ({error.strerror}): check the path and its disk.") from error
    finally:
        if part:
            part.unlink(missing_ok=True)


def _export(connection: Connection, lanes_: Sequence[Lane], everything: bool, out: IO[str]) -> int:
    count = 0
    for lane in lanes_:
        for row in inspection.export(connection, lane, everything=everything):
            row["body"] = base64.b64encode(row["body"]).decode()
            out.write(json.dumps(row) + "\n")
            count += 1
    return count
