"""`mra saas token ...`: what a customer gets together with the wheel."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, directory_option
from mra.errors import BadInput
from mra.units import parse_duration

if TYPE_CHECKING:
    from mra.outbox.sqlite import Connection

_MAKE = "make"


class _MakesByDefault(click.Group):
    """`mra saas token acme` is `mra saas token make acme`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_MAKE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_MakesByDefault)
def token() -> None:
    """Provisioning tokens: make one for a customer, list them, revoke one.

    \b
    Examples:
      mra saas token acme --role tools --validity 30d
      mra saas token acme --single-use --identity "web-*" -o web.jwt
      mra saas token acme --site berlin -o berlin.jwt
      mra saas token ls
      mra saas token revoke 2x9bUYXsqkqJbYfCkwdHqCVYfRF
    """


@token.command(_MAKE)
@directory_option
@json_option
@click.argument("name")
@click.option("--role", default="", help="Role of the nodes, for the helper and for them.")
@click.option("--site", default="", help="Site that its nodes belong to; the rules or the helper say who leads it.")
@click.option("--validity", default="365d", show_default=True, help="How long it can enrol new nodes, such as 30d.")
@click.option("--single-use", is_flag=True, help="It enrols one identity and no other.")
@click.option("--nodes", type=click.IntRange(1), help="The most identities that it enrols; default: any number.")
@click.option("--identity", "identities", multiple=True, help='Pattern for identities, such as "web-*"; repeatable.')
@click.option("--url", "urls", multiple=True, help="Where nodes enrol; repeatable; default: the SaaS's address.")
@click.option(
    "--via", multiple=True, help="Relay of a site's leader, for nodes that cannot reach the SaaS; repeatable."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), default=Path("provisioning.jwt"),
    show_default=True, help="File to make, mode 0600.",
)  # fmt: skip
def token_make(
    reach: Reach, as_json: bool, name: str, role: str, site: str, validity: str, single_use: bool, nodes: int | None,
    identities: tuple[str, ...], urls: tuple[str, ...], via: tuple[str, ...], output: Path,
) -> None:  # fmt: skip
    """Make a provisioning token for nodes of customer NAME; the same as `mra saas token NAME`.

    Whoever holds it can enrol new nodes of that customer within its limits, so hand it over like a password.

    \b
    Examples:
      mra saas token make acme --role tools --validity 30d --nodes 20
      mra saas token acme --role tools --validity 30d --nodes 20
    """
    from mra.provisioner.minting import Terms, mint_token
    from mra.provisioner.records import remember_token
    from mra.saas.directory import write
    from mra.tokens import choria

    if single_use and nodes:
        raise BadInput("--single-use is --nodes 1: give one of them.")
    if output.exists():
        raise BadInput(f"{output} exists: name another file with --output, or remove it.")
    limit = 1 if single_use else nodes or 0
    terms = Terms(role, parse_duration(validity, "--validity"), limit, identities, urls, site, via)
    customer, now = reach.registry().get(name), time.time()
    text = mint_token(reach.directory(), customer, terms, now)
    made = choria.read(text)
    with closing(ledger_of(reach)) as ledger:
        remember_token(ledger, made, max_nodes=terms.max_nodes, now=now)
    write(output, text)
    if as_json:
        show.print_json({"id": made.id, "customer": customer.name, "role": role, "site": site, "nodes": terms.max_nodes,
                         "expires": made.expires, "urls": list(made.urls), "file": str(output)})  # fmt: skip
    else:
        until = show.moment(made.expires * 1_000_000_000)
        click.echo(f"{output} enrols nodes of {customer.name} until {until}; its id is {made.id}.")


@token.command("ls")
@directory_option
@json_option
@click.argument("name", required=False)
def token_ls(reach: Reach, as_json: bool, name: str | None) -> None:
    """Every token that was made here or revoked, and how many nodes it enrolled; of customer NAME only, if given.

    \b
    Example:
      mra saas token ls acme
    """
    from mra.provisioner.records import tokens

    with closing(ledger_of(reach)) as ledger:
        found = tokens(ledger, name)
    if as_json:
        show.print_json(found)
        return
    rows = [
        (
            one["id"], one["customer"] or "-", one["role"] or "-", one["used"], one["max_nodes"] or "any",
            _moment(one["expires"]), _moment(one["revoked"]),
        )
        for one in found
    ]  # fmt: skip
    show.table(("Token", "Customer", "Role", "Nodes", "Of", "Expires", "Revoked"), rows, empty="No tokens.")


@token.command("revoke")
@directory_option
@json_option
@click.argument("token_id", metavar="ID")
def token_revoke(reach: Reach, as_json: bool, token_id: str) -> None:
    """Have a token enrol nobody any more. Nodes that it enrolled stay enrolled; `mra saas customer deny` cuts one.

    \b
    Example:
      mra saas token revoke 0123456789abcdef
    """
    from mra.provisioner.records import revoke_token
    from mra.tokens.ksuid import time_of

    if time_of(token_id) is None:
        raise BadInput(f"{token_id[:60]!r} is no id of a token: `mra saas token ls` lists them.")
    with closing(ledger_of(reach)) as ledger:
        revoke_token(ledger, token_id, time.time())
    if as_json:
        show.print_json({"revoked": token_id})
    else:
        click.echo(f"{token_id} is revoked.")


def ledger_of(reach: Reach) -> Connection:
    """The provisioning service's ledger, beside the service. Raises BadInput, StoreBroken."""
    from mra.provisioner.ledger import connect
    from mra.provisioner.opening import DATABASE

    directory = reach.directory()
    directory.charter()
    return connect(directory.path / DATABASE)


def _moment(second: int | None) -> str:
    return show.moment(second * 1_000_000_000 if second else None)
