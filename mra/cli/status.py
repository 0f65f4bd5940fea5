"""`mra status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import config_option, json_option
from mra.cli.site import print_followers
from mra.cli.site import summary as site_summary
from mra.units import show_duration, show_size

if TYPE_CHECKING:
    from pathlib import Path

    from mra.settings import Settings


@click.command()
@config_option
@json_option
@click.option("--tree", is_flag=True, help="Show the live task tree of the daemon.")
def status(config: Path, as_json: bool, tree: bool) -> None:
    """Show the link, the lanes and the last errors; works with the daemon up or down.

    \b
    Examples:
      mra status
      mra status --json | jq .lanes.events.waiting
      mra status --tree
    """
    from mra.control import NoDaemon, ask_daemon
    from mra.settings import read_settings

    settings = read_settings(config, secrets=False)
    if tree:
        document = ask_daemon(settings.socket, "tree")
        show.print_json(document) if as_json else _print_tree(document)
        return
    try:
        document = ask_daemon(settings.socket, "status")
    except NoDaemon:
        document = _without_daemon(settings)
    show.print_json(document) if as_json else _print(document)


def _without_daemon(settings: Settings) -> dict[str, Any]:
    """What the file tells; a daemon that runs and does not answer is something else than none."""
    from mra.lock import holder_of
    from mra.status import from_file

    document = from_file(settings)
    if holder := holder_of(settings.lock):
        document["running"] = True
        document["pid"] = holder
        document["link"]["last_error"] = f"the daemon (process {holder}) runs, and does not answer"
    return document


def _print(document: dict[str, Any]) -> None:
    link = document["link"]
    running = (
        f"running (process {document['pid']}"
        + (f", up {show_duration(document['uptime'])})" if "uptime" in document else ", no answer)")
        if document["running"]
        else "not running"
    )
    state = link["state"]
    if "for" in link:
        state += f" for {show_duration(link['for'])}"
    outbox = document["outbox"]
    show.pairs(
        {
            "Agent": f"{document['agent']}  {running}",
            **(site_summary(document["site"]) if document.get("site") else {}),
            "Link": state + (f", {link['server']}" if link.get("server") and link["state"] == "connected" else ""),
            "Last error": link.get("last_error"),
            "SaaS storage": f"{document['durability']} (as declared)",
            "Outbox": f"{outbox['path']}  {show_size(outbox['used_bytes'])} of {show_size(outbox['max_bytes'])},"
            f" disk has {show_size(outbox['disk_free'])} free",
            "Desired state": _desired(document.get("desired")),
            "Machines": _machines(document.get("machines")),
            "Governors": _governors(document.get("governors")),
            "SQLite": document["sqlite"],
        }
    )
    click.echo()
    show.table(
        ("Lane", "State", "Waiting", "Bytes", "Oldest", "Rows/s", "Delivered", "Parked", "Shed", "Accepted"),
        [
            (
                name,
                ("held" if lane["held"] else lane.get("state", "-"))
                + (" (single)" if lane.get("mode") == "single" else ""),
                lane["waiting"],
                show_size(lane["waiting_bytes"]),
                None if lane["oldest_age"] is None else show_duration(lane["oldest_age"]),
                lane.get("rate"),
                lane["delivered"],
                lane["parked"],
                lane["shed"],
                lane["accepted"],
            )
            for name, lane in document["lanes"].items()
        ],
        empty="No lanes.",
    )
    if (place := document.get("site")) and place["followers"]:
        click.echo()
        print_followers(place)
    _print_problems(document)


def _desired(desired: dict[str, Any] | None) -> str | None:
    if desired is None:
        return None
    known = f", {desired['keys']} keys at revision {desired['revision']}" if desired["revision"] else ""
    checked = "" if desired["checked"] is None else f", the newest {show_duration(desired['checked'])} ago"
    return f"{desired['state']}{known}{checked}"


def _machines(machines: dict[str, Any] | None) -> str | None:
    if machines is None:
        return None
    return ", ".join(f"{count} {condition}" for condition, count in sorted(machines["conditions"].items())) or "none"


def _governors(governors: dict[str, Any] | None) -> str | None:
    if not governors or not (governors["held"] or governors["waiting"]):
        return None
    return f"{len(governors['held'])} slots held, {len(governors['waiting'])} waited for"


def _print_problems(document: dict[str, Any]) -> None:
    if problem := (document.get("desired") or {}).get("last_error"):
        click.echo(f"desired state: {problem}")
    for name, problem in (document.get("machines") or {}).get("problems", {}).items():
        click.echo(f"machine {name}: {problem}")
    for name, lane in document["lanes"].items():
        if problem := lane["held"] or lane.get("last_error"):
            click.echo(f"{name}: {problem}")
    for name, service in document.get("services", {}).items():
        if service["restarts"]:
            click.echo(f"{name}: restarted {service['restarts']} times, last because {service['last_error']}")


def _print_tree(node: dict[str, Any], depth: int = 0) -> None:
    click.echo("  " * depth + node["name"])
    for child in node["children"]:
        _print_tree(child, depth + 1)
