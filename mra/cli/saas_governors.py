"""`mra saas governors ...`: how many machines of a customer may do something at once."""

from __future__ import annotations

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.errors import BadInput
from mra.units import parse_duration

_SHORTEST_LEASE = 10


@click.group()
def governors() -> None:
    """Limit how many machines of a customer do something at once.

    \b
    Examples:
      mra saas governors set acme REFILL --slots 3
      mra saas governors ls acme
      mra saas governors evict acme REFILL 0
    """


@governors.command("set")
@access_options
@json_option
@click.argument("customer")
@click.argument("governor")
@click.option("--slots", type=int, required=True, help="How many may hold it at once; 0 lets nobody in.")
@click.option(
    "--lease",
    default="60s",
    show_default=True,
    help="How long a slot stays taken when its holder is cut off or killed; holders renew it meanwhile.",
)
def governors_set(reach: Reach, as_json: bool, customer: str, governor: str, slots: int, lease: str) -> None:
    """Create GOVERNOR for CUSTOMER, or change it. Slots that are held stay held.

    \b
    Example:
      mra saas governors set acme updates --slots 5 --lease 10m
    """
    from mra.governors.slots import Capacity, check_capacity
    from mra.saas.governors import put

    account = reach.customer(customer)
    seconds = round(parse_duration(lease, "--lease"))
    if seconds < _SHORTEST_LEASE:
        raise BadInput(f"--lease is {lease}: write {_SHORTEST_LEASE}s or more, so that a slow link can renew in time.")
    capacity = check_capacity(Capacity(slots, seconds))
    with_session(reach.access(), lambda session: put(session, account, governor, capacity))
    if as_json:
        show.print_json({"customer": customer, "governor": governor, **capacity._asdict()})
    else:
        click.echo(f"{customer} {governor} has {slots} slots with a lease of {seconds} s.")


@governors.command("ls")
@access_options
@json_option
@click.argument("customer", required=False)
def governors_ls(reach: Reach, as_json: bool, customer: str | None) -> None:
    """List governors, of CUSTOMER or of all, and who holds their slots.

    \b
    Example:
      mra saas governors ls acme
    """
    from mra.saas.governors import ls

    account = reach.customer(customer) if customer else None
    names = reach.names()
    found = with_session(reach.access(), lambda session: ls(session, account))
    if as_json:
        show.print_json(
            [
                {
                    "customer": names.get(each.customer, each.customer),
                    "governor": each.name,
                    "slots": each.capacity.slots if each.capacity else None,
                    "lease": each.capacity.lease if each.capacity else None,
                    "held": [
                        {"slot": slot.number, "sequence": slot.sequence, "holder": slot.holder, "since": slot.since}
                        for slot in each.held
                    ],
                }
                for each in found
            ]
        )
        return
    show.table(
        ("Customer", "Governor", "Slots", "Held", "Lease", "Holders"),
        [
            (
                names.get(each.customer, each.customer),
                each.name,
                each.capacity.slots if each.capacity else "-",
                len(each.held),
                f"{each.capacity.lease} s" if each.capacity else "-",
                "\n".join(f"{slot.number}: {slot.holder}" for slot in each.held) or "-",
            )
            for each in found
        ],
        empty="There are no governors.",
    )


@governors.command("evict")
@access_options
@json_option
@click.argument("customer")
@click.argument("governor")
@click.argument("slots", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every slot that is held.")
def governors_evict(
    reach: Reach, as_json: bool, customer: str, governor: str, slots: tuple[int, ...], every: bool
) -> None:
    """Free SLOTS of GOVERNOR, whoever holds them. What they do goes on; who leads an election steps down.

    \b
    Examples:
      mra saas governors evict acme updates 1 2
      mra saas governors evict acme updates --all
    """
    from mra.saas.governors import evict

    account = reach.customer(customer)
    if every == bool(slots):
        raise BadInput("Name the slots to free, or give --all: `mra saas governors ls` shows which are held.")
    numbers = None if every else frozenset(slots)
    freed = with_session(reach.access(), lambda session: evict(session, account, governor, numbers))
    if as_json:
        show.print_json([{"slot": slot.number, "sequence": slot.sequence, "holder": slot.holder} for slot in freed])
        return
    for slot in freed:
        click.echo(f"{customer} {governor} slot {slot.number} is free; {slot.holder} held it.")
    if not freed:
        click.echo("None of them was held.")


@governors.command("rm")
@access_options
@json_option
@click.argument("customer")
@click.argument("governor")
def governors_rm(reach: Reach, as_json: bool, customer: str, governor: str) -> None:
    """Remove GOVERNOR; machines that need it then fail at once. Removing what is not there succeeds.

    \b
    Example:
      mra saas governors rm acme updates
    """
    from mra.saas.governors import remove

    account = reach.customer(customer)
    removed = with_session(reach.access(), lambda session: remove(session, account, governor))
    if as_json:
        show.print_json({"customer": customer, "governor": governor, "removed": removed})
    else:
        click.echo(f"{customer} {governor} is removed." if removed else f"{customer} has no governor {governor}.")
