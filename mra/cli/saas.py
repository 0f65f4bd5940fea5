"""`mra saas ...`: the vendor's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, in_rounds, with_session
from mra.cli.saas_config import config
from mra.cli.saas_customers import customer
from mra.cli.saas_governors import governors
from mra.cli.saas_import import import_, sealing_key
from mra.cli.saas_init import init
from mra.cli.saas_members import customer_allow, customer_credentials, customer_deny
from mra.cli.saas_node import node
from mra.cli.saas_plugins import plugins
from mra.cli.saas_provisioner import provisioner
from mra.cli.saas_site import site
from mra.cli.saas_token import token
from mra.cli.saas_usage import guard, usage
from mra.cli.saas_watch import events, nodes

if TYPE_CHECKING:
    from mra.aio.session import Session


@click.group()
def saas() -> None:
    """Make a SaaS and its customers, examine its streams, and say what agents shall do.

    \b
    Examples:
      mra saas init /srv/saas
      mra saas streams apply --saas /srv/saas
      mra saas customer add acme --saas /srv/saas
      mra saas token acme --role tools --saas /srv/saas
      mra saas provisioner --saas /srv/saas
      mra saas verify --customer acme
      mra saas config put acme limits limits.json
      mra saas plugins publish acme signed.json
    """


saas.add_command(init)
saas.add_command(customer)
for command in (customer_deny, customer_allow, customer_credentials, usage, guard):
    customer.add_command(command)
saas.add_command(token)
saas.add_command(node)
saas.add_command(site)
saas.add_command(provisioner)
saas.add_command(config)
saas.add_command(governors)
saas.add_command(plugins)
saas.add_command(sealing_key)
saas.add_command(import_)
saas.add_command(nodes)
saas.add_command(events)


@saas.group()
def streams() -> None:
    """The three streams of rows, the governors' stream, and the CONFIG bucket.

    \b
    Examples:
      mra saas streams apply
      mra saas streams check
    """


@streams.command("apply")
@access_options
@json_option
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Definitions to use instead of the shipped ones.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    help="Servers of the cluster that hold each stream.  [default: as they are, or one]",
)
def streams_apply(reach: Reach, as_json: bool, folder: Path | None, replicas: int | None) -> None:
    """Create the streams, or bring existing ones to their definitions.

    \b
    Example, for a cluster of three servers:
      mra saas streams apply --user backend --password-file backend.password --replicas 3
    """
    from mra.saas.streams import apply, definitions

    wanted = definitions(folder)
    done = with_session(reach.access(), lambda session: apply(session, wanted, replicas=replicas))
    if as_json:
        show.print_json(dict(done))
    else:
        show.table(("Stream", "Result"), done, empty="No streams.")


@streams.command("check")
@access_options
@json_option
def streams_check(reach: Reach, as_json: bool) -> None:
    """Name what about the running streams breaks a promise; exit code 1 when something does.

    \b
    Example:
      mra saas streams check
    """
    from mra.saas.streams import check

    problems = with_session(reach.access(), check)
    if as_json:
        show.print_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo("All streams are as they must be.")
    if problems:
        raise click.exceptions.Exit(1)


@streams.command("tidy")
@access_options
@json_option
@click.option("--every", help="Go on for ever, with this pause between two rounds, like 10m.")
def streams_tidy(reach: Reach, as_json: bool, every: str | None) -> None:
    """Remove old checkpoints: a site leaves one with every batch, and needs only the newest.

    \b
    Examples:
      mra saas streams tidy --user backend --password-file backend.password
      mra saas streams tidy --every 10m
    """
    from mra.saas.streams import tidy

    def tidy_once() -> None:
        removed = with_session(reach.access(), tidy)
        if as_json:
            show.print_json(removed)
        else:
            show.table(("Stream", "Checkpoints removed"), list(removed.items()), empty="No streams.")

    in_rounds(every, tidy_once)


@saas.command()
@access_options
@json_option
@click.option("--customer", help="Only this customer.")
@click.option("--stream", "names", multiple=True, help="Only this stream; repeatable.")
def verify(
    reach: Reach,
    as_json: bool,
    customer: str | None,
    names: tuple[str, ...],
) -> None:
    """Prove from the streams alone that every lane is complete, or name the missing ranges; exit code 1 then.

    \b
    Examples:
      mra saas verify
      mra saas verify --customer acme --json | jq .complete
    """
    from mra.saas import verify as verification
    from mra.saas.streams import LANE_STREAMS, check

    chosen = names or LANE_STREAMS
    only = reach.customer(customer) if customer else None
    known = reach.names()

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[str]]:
        found: list[dict[str, Any]] = []
        for name in chosen:
            with show.progress(f"Reading {name}", enabled=not as_json) as report:
                lanes = await verification.verify_stream(session, name, customer=only, progress=report)
            found += [
                {**lane, "account": lane["customer"], "customer": known.get(lane["customer"], lane["customer"])}
                for lane in verification.document(name, lanes)
            ]
        return found, await check(session, tuple(chosen))

    lanes, problems = with_session(reach.access(), work)
    complete = all(lane["complete"] for lane in lanes)
    if as_json:
        show.print_json({"complete": complete, "lanes": lanes, "stream_problems": problems})
    else:
        _print(lanes, problems)
    if not complete:
        raise click.exceptions.Exit(1)


def _name(lane: dict[str, Any]) -> str:
    return f"{lane['lane']} (via {', '.join(lane['via'])})" if lane["via"] else str(lane["lane"])


def _print(lanes: list[dict[str, Any]], problems: list[str]) -> None:
    show.table(
        ("Customer", "Lane", "Rows", "Through", "Missing", "Duplicated", "Out of order", "Aged out"),
        [
            (
                lane["customer"], _name(lane), lane["rows"], lane["through_seq"], len(lane["missing"]),
                lane["duplicated"], lane["reordered"], lane["aged_out"],
            )
            for lane in lanes
        ],
        empty="The streams hold no rows.",
    )  # fmt: skip
    for lane in lanes:
        where = show.tame(f"{lane['customer']} {lane['lane']}")
        for hole in lane["missing"]:
            click.echo(f"{where}: rows {hole['first_seq']} to {hole['last_seq']} are missing.")
        for problem in lane["problems"]:
            click.echo(f"{where}: {show.tame(problem)}.")
    for problem in problems:
        click.echo(f"Warning: {problem}.")
