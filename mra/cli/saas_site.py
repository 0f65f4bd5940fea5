"""`mra saas site ...`: who leads a customer's site."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.cli.saas_token import ledger_of
from mra.errors import BadInput

if TYPE_CHECKING:
    from mra.aio.session import Session
    from mra.site.terms import Term


@click.group()
def site() -> None:
    """Sites of many nodes: who leads one from now on.

    A node is put into a site by its token, and the rules of the provisioning service say who leads that at first.

    \b
    Examples:
      mra saas token acme --site berlin
      mra saas site lead acme berlin n2
    """


@site.command("lead")
@access_options
@json_option
@click.argument("customer")
@click.argument("name", metavar="SITE")
@click.argument("node")
@click.option("--term", type=int, help="The new term, where the rules name one.  [default: one more than the last]")
def site_lead(reach: Reach, as_json: bool, customer: str, name: str, node: str, term: int | None) -> None:
    """Have NODE lead SITE of CUSTOMER in a new term.

    NODE has to be one that may lead, which is checked with the directory of the SaaS at hand. All others leave the
    leader before it alone from then on, also when it was away and comes back.

    \b
    Example:
      mra saas site lead acme berlin n2
    """
    from mra.provisioner.records import check_may_lead
    from mra.saas.config import get, put
    from mra.saas.registry import check_node, check_site
    from mra.site.orders import FIRST_TERM, HIGHEST_TERM, leader_key, read_order, write_order
    from mra.site.terms import Term

    account, key = reach.customer(customer), leader_key(check_site(name))
    check_node(node)
    if reach.home is not None:  # the service's ledger lies there
        with closing(ledger_of(reach)) as ledger:
            check_may_lead(ledger, account, node, name)

    async def lead(session: Session) -> Term:
        entry = await get(session, account, key)
        last = FIRST_TERM if entry is None or entry.value is None else read_order(entry.value).term
        order = Term(last + 1 if term is None else term, node)
        if not last < order.term <= HIGHEST_TERM:
            raise BadInput(f"Site {name} is in term {last}: name a higher one, up to {HIGHEST_TERM}.")
        await put(session, account, key, write_order(order), replaces=entry.revision if entry else 0)
        return order

    order = with_session(reach.access(), lead)
    if as_json:
        show.print_json({"customer": customer, "site": name, "leader": order.leader, "term": order.term})
    else:
        click.echo(f"{node} leads {name} of {customer} in term {order.term}.")
