"""`mra machines ...`: the autonomous agents of this node."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra.cli import machine_events, show
from mra.cli.options import agent_options, config_option, json_option
from mra.control import ask_daemon
from mra.errors import BadInput, Unavailable
from mra.machines import graph as drawing
from mra.machines.data import FILE_NAME
from mra.machines.manifest import load_manifest
from mra.machines.scan import MANIFEST
from mra.machines.validate import validate as judge
from mra.machines.watchers.registry import registry
from mra.outbox import sqlite
from mra.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mra.machines.manifest import WatcherKind

_LOOK_AGAIN_SECONDS = 0.5


@click.group()
def machines() -> None:
    """Look at the autonomous agents of this node, and move them by hand.

    \b
    Examples:
      mra machines ls
      mra machines transition pump start
      mra machines validate /var/lib/mra/machines
    """


def _ask(config: Path, what: str, **given: str) -> Any:
    return ask_daemon(read_settings(config, secrets=False).socket, f"machines.{what}", given, patience=10.0)


def _kinds() -> Mapping[str, WatcherKind]:
    return registry(agent_options().watchers)


@machines.command()
@config_option
@json_option
def ls(config: Path, as_json: bool) -> None:
    """List the machines of the running daemon, also those that may not or cannot run, and why.

    \b
    Examples:
      mra machines ls
      mra machines ls --json
    """
    found = _ask(config, "ls")
    if as_json:
        show.print_json(found)
        return
    show.table(
        ("Machine", "Version", "Condition", "State", "Since", "Watchers", "Problem"),
        [
            (
                each["name"], each["version"] or None, each["condition"], each["state"] or None,
                show.moment(each["since_wall"]), len(each["watchers"]), _problem(each),
            )
            for each in found
        ],
        empty="No machines.",
    )  # fmt: skip


def _problem(machine: Mapping[str, Any]) -> str | None:
    """What is wrong with a machine, or else with what its watchers look after: a plugin that may not run, say."""
    troubles = [f"{each['name']}: {each['trouble']}" for each in machine["watchers"] if each["trouble"]]
    return machine["problem"] or "; ".join(troubles) or None


@machines.command("show")
@config_option
@json_option
@click.argument("name")
def show_machine(config: Path, as_json: bool, name: str) -> None:
    """Show one machine and its watchers; NAME is a name, directory or instance.

    \b
    Example:
      mra machines show pump
    """
    found = _ask(config, "show", name=name)
    if as_json:
        show.print_json(found)
        return
    watchers = found.pop("watchers")
    found["since_wall"], found["started_wall"] = show.moment(found["since_wall"]), show.moment(found["started_wall"])
    found["available"] = ", ".join(found["available"])
    show.pairs({key.replace("_wall", "").replace("_", " ").capitalize(): value or None for key, value in found.items()})
    click.echo()
    show.table(
        ("Watcher", "Type", "Active", "Outcome", "Seconds", "Restarts", "Detail", "Trouble"),
        [
            (
                each["name"], each["type"], each["active"], each["outcome"], round(each["run_seconds"], 3),
                each["restarts"], each["detail"] or None, each["trouble"] or each["crash"] or None,
            )
            for each in watchers
        ],
        empty="No watchers.",
    )  # fmt: skip


@machines.command()
@config_option
@json_option
@click.argument("name")
@click.argument("transition")
def transition(config: Path, as_json: bool, name: str, transition: str) -> None:
    """Fire TRANSITION of the machine NAME; refused when its state does not allow that.

    \b
    Example:
      mra machines transition pump start
    """
    found = _ask(config, "transition", name=name, event=transition)
    if as_json:
        show.print_json(found)
    else:
        click.echo(f"{found['machine']} {'is now' if found['moved'] else 'stays'} in state {found['state']}.")


@machines.command()
@config_option
@json_option
@click.argument("name")
def data(config: Path, as_json: bool, name: str) -> None:
    """Show what the machine NAME remembers; without a daemon NAME is its directory's name.

    \b
    Example:
      mra machines data pump
    """
    settings = read_settings(config, secrets=False)
    try:
        found = ask_daemon(settings.socket, "machines.data", {"name": name})
    except Unavailable:
        found = _kept(settings.machines.directory / name)
    show.print_json(found) if as_json else show.pairs({key: json.dumps(value) for key, value in sorted(found.items())})


def _kept(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise BadInput(f"There is no machine at {directory}: name a directory there, or start the daemon.")
    try:
        found = json.loads((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{directory / FILE_NAME} cannot be read ({error}): the machine will start without it."
        ) from error
    return found if isinstance(found, dict) else {}


@machines.command()
@config_option
@json_option
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many events.")
def history(config: Path, as_json: bool, name: str, limit: int) -> None:
    """Show the last events of the machine NAME that the outbox still holds; works with the daemon up or down.

    \b
    Example:
      mra machines history pump --limit 50
    """
    with closing(sqlite.connect_readonly(read_settings(config, secrets=False).database)) as connection:
        found = machine_events.newest(connection, name, limit)
    if as_json:
        show.print_json_lines(found)
        return
    show.table(
        ("Seq", "At", "What happened"),
        [(each["seq"], show.moment(each["wall"]), machine_events.sentence(each)) for each in found],
        empty=f"The outbox holds no events of {name}.",
    )


@machines.command()
@config_option
@json_option
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(1), help="End after this many events.")
def watch(config: Path, as_json: bool, name: str | None, count: int | None) -> None:
    """Show events of the machine NAME, or of all, as they are accepted, until interrupted.

    \b
    Examples:
      mra machines watch pump
      mra machines watch --json --count 1
    """
    for number, event in enumerate(_follow(config, name), 1):
        line = f"{show.moment(event['wall'])}  {event['data']['machine']}  {machine_events.sentence(event)}"
        click.echo(json.dumps(event) if as_json else line)
        sys.stdout.flush()
        if number == count:
            return


def _follow(config: Path, name: str | None) -> Iterator[dict[str, Any]]:
    with closing(sqlite.connect_readonly(read_settings(config, secrets=False).database)) as connection:
        seen = machine_events.last_row(connection)
        while True:
            until = machine_events.last_row(connection)
            for event in list(machine_events.behind(connection, name, seen)):
                until = max(until, event["seq"])
                yield event
            seen = max(seen, until)
            time.sleep(_LOOK_AGAIN_SECONDS)


@machines.command()
@json_option
@click.argument("directory", type=click.Path(path_type=Path))
def validate(as_json: bool, directory: Path) -> int:
    """Check the machine in DIRECTORY, or all machines below it; exit code 1 when one of them cannot run.

    Every problem is named with its line, key and reason. Advice, such as a key that nothing reads, stops no machine.

    \b
    Example:
      mra machines validate /var/lib/mra/machines
    """
    verdicts = judge(directory, _kinds())
    if as_json:
        show.print_json([_verdict(each.source, each.runs, each.problems) for each in verdicts])
    else:
        for each in verdicts:
            for line in each.sentences:
                click.echo(line)
        bad = sum(not each.runs for each in verdicts)
        click.echo(f"{len(verdicts)} checked, {bad} cannot run." if bad else f"{len(verdicts)} checked, all can run.")
    return 0 if all(each.runs for each in verdicts) else 1


def _verdict(source: str, runs: bool, problems: tuple[Any, ...]) -> dict[str, Any]:
    found = [
        {"line": p.line, "column": p.column, "severity": p.severity.value, "key": p.key, "reason": p.reason}
        for p in problems
    ]
    return {"manifest": source, "runs": runs, "problems": found}


@machines.command()
@config_option
@click.argument("machine")
@click.option("--dot", is_flag=True, help="Draw for Graphviz instead of Mermaid.")
def graph(config: Path, machine: str, dot: bool) -> None:
    """Draw the state machine of MACHINE: a directory with a manifest, or a machine of the running daemon.

    \b
    Examples:
      mra machines graph ./pump > pump.mmd
      mra machines graph pump --dot | dot -Tsvg > pump.svg
    """
    manifest = Path(machine) / MANIFEST
    if manifest.is_file():
        read = load_manifest(manifest.read_bytes(), str(manifest), _kinds())
        text = (drawing.dot if dot else drawing.mermaid)(read)
    else:
        text = _ask(config, "graph", name=machine, form="dot" if dot else "mermaid")
    click.echo(text, nl=False)
