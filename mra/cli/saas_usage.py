"""`mra saas customer usage` and `guard`: how much room each customer takes in the streams of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, in_rounds, with_session
from mra.cli.saas_customers import follow

if TYPE_CHECKING:
    from mra.saas.registry import Customer
    from mra.saas.usage import Usage


@click.command("usage")
@access_options
@json_option
@click.argument("name", required=False)
def usage(reach: Reach, as_json: bool, name: str | None) -> None:
    """Rows that the streams hold of each customer, or of NAME, and how many they may.

    \b
    Example:
      mra saas customer usage acme
    """
    registry = reach.registry()
    found = _measure(reach, [registry.get(name)] if name else registry.all())
    if as_json:
        show.print_json(
            [
                {"customer": one.customer.name, "account": one.customer.account, "rows": one.rows, "total": one.total,
                 "limit": one.customer.limits.rows}
                for one in found
            ]
        )  # fmt: skip
        return
    show.table(
        ("Customer", "Events", "Nodes", "Submissions", "Rows", "Limit"),
        [
            (one.customer.name, *one.rows.values(), one.total, one.customer.limits.rows if one.limited else "-")
            for one in found
        ],
        empty="There are no customers.",
    )


@click.command("guard")
@access_options
@json_option
@click.option("--every", help="Go on for ever, with this pause between two rounds, like 10s.")
def guard(reach: Reach, as_json: bool, every: str | None) -> None:
    """Suspend customers that fill more rows than their limit, so that the streams stay open for the others.

    Such a customer's nodes keep what they accept. Raise its limit or purge, and resume it.

    \b
    Examples:
      mra saas customer limit acme --rows 1000000
      mra saas customer guard --every 10s
    """

    def suspend_once() -> None:
        suspended = _round(reach)
        if as_json:
            show.print_json_lines({"customer": one.name, "reason": one.reason} for one in suspended)
        else:
            for one in suspended:
                click.echo(f"{one.name} is suspended: {one.reason}.")

    in_rounds(every, suspend_once)


def _round(reach: Reach) -> list[Customer]:
    """Suspend whoever is over the limit. The server is told also of those whom an interrupted round had suspended."""
    import msgspec

    registry = reach.registry()
    over = {one.customer.name: one.excess for one in _measure(reach, registry.all()) if one.excess}

    def suspend(one: Customer) -> Customer:
        return msgspec.structs.replace(one, suspended=True, reason=over[one.name])

    suspended = [registry.change(name, suspend) for name in over if not registry.get(name).suspended]
    if over:
        follow(reach, list(over))
    return suspended


def _measure(reach: Reach, customers: list[Customer]) -> list[Usage]:
    from mra.saas.usage import measure

    return with_session(reach.access(), lambda session: measure(session, customers))
