"""Printing: tables that fit the terminal, JSON, and progress for whatever takes longer than two seconds."""

from __future__ import annotations

import base64
import json
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

_QUIET_SECONDS = 2.0


def console() -> Console:
    """Where people read; colour only on a terminal. In a pipe tables are wide enough never to break a line."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_json(document: object) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def print_json_lines(documents: Iterable[object]) -> None:
    """One JSON document a line."""
    for document in documents:
        click.echo(json.dumps(document, default=_plain))


def _plain(value: object) -> object:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def raw(body: bytes) -> None:
    """A row's body as it is; what could play tricks on a terminal is escaped there."""
    if sys.stdout.isatty():
        click.echo("\n".join(map(tame, body.decode("utf-8", "backslashreplace").split("\n"))))
    else:
        click.echo(body)


def tame(value: object) -> str:
    """The value as text without control characters: some of it was written by strangers."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Rows under headings; numbers to the right. `empty` is said instead of a table without rows."""
    from rich import box
    from rich.table import Table

    found = [[_cell(value) for value in row] for row in rows]
    if not found:
        click.echo(empty)
        return
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        numeric = all(row[index].replace(",", "").replace(".", "").isdigit() or row[index] == "-" for row in found)
        view.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in found:
        view.add_row(*row)
    console().print(view)


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(tame(value))


def plain(text: str, most: int) -> str:
    """What someone else wrote, on one line and without what a terminal would obey; cut after `most` characters."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def moment(wall_ns: int | None) -> str:
    """Wall-clock nanoseconds as people read them."""
    if not wall_ns:
        return "-"
    try:
        return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"@{wall_ns / 1e9:.0f}"


def pairs(fields: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {'-' if value is None else tame(value)}")


@contextmanager
def progress(title: str, *, enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Yield `report(done, total)`; after two seconds a line with the time left appears on standard error."""
    started = time.monotonic()
    shown = 0.0
    terminal = sys.stderr.isatty()

    def report(done: int, total: int) -> None:
        nonlocal shown
        moment_ = time.monotonic()
        if not enabled or moment_ - started < _QUIET_SECONDS or moment_ - shown < (0.2 if terminal else 5.0):
            return
        shown = moment_
        left = (moment_ - started) / max(done, 1) * max(total - done, 0)
        share = 100 * done / max(total, 1)
        click.echo(
            f"{title}: {done:,} of {total:,} ({share:.0f} %), about {left:.0f} s left", err=True, nl=not terminal
        )
        if terminal:
            click.echo("\r", err=True, nl=False)

    yield report
    if shown and terminal:
        click.echo("\x1b[2K", err=True, nl=False)
