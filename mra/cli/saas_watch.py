"""`mra saas nodes` and `mra saas events`: what sites told."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.errors import BadInput, Unavailable
from mra.units import parse_duration, show_duration

if TYPE_CHECKING:
    from mra.aio.session import Session
    from mra.saas.feed import Event, Follower
    from mra.saas.nodes import Node

_RETRY_SECONDS = 1.0
_LONGEST = 60  # characters of one field that a site wrote


@click.command("nodes")
@access_options
@json_option
@click.option("--customer", "name", help="Only this customer.")
@click.option("--node", "only", help="Only this node.")
@click.option("--facts", is_flag=True, help="Everything that each node told, as JSON.")
def nodes(reach: Reach, as_json: bool, name: str | None, only: str | None, facts: bool) -> None:
    """The newest report of every node, and when it was last heard of.

    \b
    Examples:
      mra saas nodes
      mra saas nodes --customer acme --node site1 --facts
    """
    from mra.saas.nodes import newest

    account = reach.customer(name) if name else None
    names = reach.names()
    found = with_session(reach.access(), lambda session: newest(session, account))
    found = [node for node in found if only is None or node.name == only]
    if as_json or facts:
        show.print_json([_node(node, names, facts) for node in found])
        return
    now = time.time_ns()
    show.table(
        ("Customer", "Node", "Heard", "Host", "System", "Agent", "Problems"),
        [
            (
                names.get(node.customer, node.customer), show.plain(node.name, _LONGEST),
                f"{show_duration(max(0, now - node.heard) / 1e9)} ago",
                *(_fact(node, path) for path in _SHOWN), node.problems,
            )
            for node in found
        ],
        empty="No node has reported.",
    )  # fmt: skip


_SHOWN = ("host.info.hostname", "host.info.platform", "machine_room.options.version")


def _fact(node: Node, path: str) -> str:
    from mra.saas.nodes import fact

    found = fact(node.facts, path)
    return "-" if found is None else show.plain(str(found), _LONGEST)


def _node(node: Node, names: dict[str, str], facts: bool) -> dict[str, Any]:
    found = {
        "customer": names.get(node.customer, node.customer), "account": node.customer, "node": node.name,
        "heard": _moment(node.heard), "reported": _moment(node.reported), "problems": node.problems,
    }  # fmt: skip
    return {**found, "facts": node.facts} if facts else found


@click.command("events")
@access_options
@json_option
@click.option("--customer", "name", help="Only this customer.")
@click.option("--subject", default=">", show_default=True, help="Only these, such as machine.transition.")
@click.option("--since", help="How far to look back, such as 2h; default: 1h, and with --follow not at all.")
@click.option("--follow", "-f", is_flag=True, help="Go on as events come, until interrupted.")
def events(reach: Reach, as_json: bool, name: str | None, subject: str, since: str | None, follow: bool) -> None:
    """What happened at the sites, in the order in which it was stored.

    \b
    Examples:
      mra saas events --since 1d --customer acme
      mra saas events --follow --subject 'lifecycle.>'
    """
    from mra.saas import feed

    if not subject or any(character.isspace() or not character.isprintable() for character in subject):
        raise BadInput(f"--subject is {subject!r}: write words with dots between them, * for one and > for the rest.")
    subjects = feed.pattern(reach.customer(name) if name else None, subject)
    back = parse_duration(since, "--since") if since else None if follow else 3600.0
    printer = _Printer(as_json, reach)

    async def look_back(session: Session) -> int:
        following = await feed.end(session)
        if back is None:
            return following
        stored = feed.since(session, subjects, _rfc3339(time.time() - back))
        async with aclosing(stored):  # type: ignore[type-var]
            async for event in stored:
                printer.show(event)
                following = max(following, event.sequence + 1)
        return following

    following = with_session(reach.access(), look_back)
    if follow:
        _follow(reach, feed.Follower(subjects, following), printer)


def _follow(reach: Reach, follower: Follower, printer: _Printer) -> None:
    """Go on for ever; a SaaS that goes away is waited for."""

    async def work(session: Session) -> None:
        coming = follower.follow(session)
        async with aclosing(coming):  # type: ignore[type-var]
            async for event in coming:
                printer.show(event)

    while True:
        try:
            with_session(reach.access(), work)
        except Unavailable as error:
            click.echo(f"{error} It is tried again.", err=True)
            time.sleep(_RETRY_SECONDS)


class _Printer:
    """One line an event."""

    def __init__(self, as_json: bool, reach: Reach) -> None:
        self._as_json = as_json
        self._reach = reach
        self._names = reach.names()

    def show(self, event: Event) -> None:
        if event.customer not in self._names:  # perhaps added meanwhile
            self._names = {event.customer: show.plain(event.customer, _LONGEST), **self._reach.names()}
        customer = self._names[event.customer]
        if self._as_json:
            show.print_json_lines(
                [
                    {
                        "sequence": event.sequence, "stored": _moment(event.stored), "customer": customer,
                        "account": event.customer, "subject": event.subject, "event": event.body,
                    }
                ]
            )  # fmt: skip
            return
        data = event.body.get("data") if isinstance(event.body, dict) else event.body
        text = " ".join((show.plain(event.subject, 80), show.plain(event.what, 120), show.plain(json.dumps(data), 120)))
        click.echo(f"{show.moment(event.stored)}  {customer}  {text}")


def _moment(stored: int) -> str | None:
    return datetime.fromtimestamp(stored / 1e9, UTC).isoformat() if stored else None


def _rfc3339(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(max(0.0, seconds), UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError) as error:
        raise BadInput("--since reaches too far back: write a shorter time.") from error
