"""`mra saas customer ...`: who may use the SaaS, and how much of it; a running server follows at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, directory_option, system_options, with_session
from mra.errors import Unavailable
from mra.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.aio.session import Session
    from mra.saas.registry import Customer
    from mra.tokens.claims import Limits

_LIMITS = (
    click.option("--connections", type=click.IntRange(0), help="Connections at once; default 500."),
    click.option("--subscriptions", type=click.IntRange(1), help="Subscriptions of one connection; default 64."),
    click.option("--payload", help="Largest message, such as 256KiB; default 1MiB."),
    click.option("--data", help="Bytes, in the claims for other tools: nats-server does not count them."),
    click.option(
        "--rows", type=click.IntRange(-1), help="Rows kept for it, as `guard` enforces; default -1, any number."
    ),
)


def limit_options(function: Callable[..., None]) -> Callable[..., None]:
    """The numbers that a customer is bound by."""
    for option in reversed(_LIMITS):
        function = option(function)
    return function


@click.group()
def customer() -> None:
    """Customers: one account each, which sees nothing of the others.

    \b
    Examples:
      mra saas customer add acme --connections 200
      mra saas customer suspend acme
      mra saas customer deny acme --node n7
      mra saas customer ls
    """


@customer.command("add")
@system_options
@json_option
@limit_options
@click.argument("name")
def customer_add(reach: Reach, as_json: bool, name: str, **limits: Any) -> None:
    """Add a customer, and tell the running server. Adding it again tells the server again.

    \b
    Example:
      mra saas customer add acme --rows 20GiB
    """
    from mra.saas.config import begin

    registry = reach.registry()
    added, new = registry.add(name, _limits(limits), time.time())
    follow(reach, [added.name])
    try:
        with_session(reach.access(), lambda session: begin(session, added.account))
    except Unavailable:
        click.echo(
            "There is no bucket for its desired state: run `mra saas streams apply`, and then this again.", err=True
        )
    _say(added, as_json, "is added" if new else "exists, and the server knows it")


@customer.command("ls")
@directory_option
@json_option
def customer_ls(reach: Reach, as_json: bool) -> None:
    """List the customers and their limits.

    \b
    Example:
      mra saas customer ls
    """
    found = reach.registry().all()
    if as_json:
        show.print_json([_document(one) for one in found])
        return
    show.table(
        ("Name", "Id", "State", "Connections", "Subscriptions", "Payload", "Denied"),
        [
            (
                one.name, one.account, _state(one), one.limits.connections, one.limits.subscriptions,
                one.limits.payload, len(one.denied_nodes) + len(one.denied_users),
            )
            for one in found
        ],
        empty="There are no customers: `mra saas customer add NAME` makes one.",
    )  # fmt: skip


@customer.command("limit")
@system_options
@json_option
@limit_options
@click.argument("name")
def customer_limit(reach: Reach, as_json: bool, name: str, **limits: Any) -> None:
    """Change the limits that are given, and leave the others; connections beyond a new limit are cut.

    \b
    Example:
      mra saas customer limit acme --connections 200
    """
    import msgspec

    def alter(one: Customer) -> Customer:
        return msgspec.structs.replace(one, limits=_limits(limits, one.limits) or one.limits)

    change(reach, as_json, name, alter, "has other limits")


@customer.command("suspend")
@system_options
@json_option
@click.option("--reason", default="", help="Why, for those who look later.")
@click.argument("name")
def customer_suspend(reach: Reach, as_json: bool, name: str, reason: str) -> None:
    """Cut a customer's connections and refuse new ones; its nodes keep what they accept until it is resumed.

    \b
    Example:
      mra saas customer suspend acme --reason "unpaid since March"
    """
    import msgspec

    def alter(one: Customer) -> Customer:
        return msgspec.structs.replace(one, suspended=True, reason=reason)

    change(reach, as_json, name, alter, "is suspended")


@customer.command("resume")
@system_options
@json_option
@click.argument("name")
def customer_resume(reach: Reach, as_json: bool, name: str) -> None:
    """Let a suspended customer connect again.

    \b
    Example:
      mra saas customer resume acme
    """
    import msgspec

    change(reach, as_json, name, lambda one: msgspec.structs.replace(one, suspended=False, reason=""), "is resumed")


@customer.command("remove")
@system_options
@json_option
@click.argument("name")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option("--purge", is_flag=True, help="Remove what it stored, and its desired state, too.")
def customer_remove(reach: Reach, as_json: bool, name: str, force: bool, purge: bool) -> None:
    """Delete a customer's account and keys; its nodes can never connect again. What it stored ages out of the streams.

    \b
    Examples:
      mra saas customer remove acme
      mra saas customer remove acme --force --purge
    """
    from mra.saas import claims_api
    from mra.saas.streams import purge_customer

    registry = reach.registry()
    found = registry.get(name)
    if not force:
        click.confirm(f"Delete the account of {found.name} for good?", abort=True, err=True)
    signer = reach.directory().operator_signer()
    with reach.directory().locked("push"):
        with_session(reach.system(), lambda session: claims_api.delete(session, [found.account], signer, time.time()))
        registry.remove(found.name)
    if purge:
        with_session(reach.access(), lambda session: purge_customer(session, found.account))
    _say(found, as_json, "is removed")


@customer.command("push")
@system_options
@json_option
def customer_push(reach: Reach, as_json: bool) -> None:
    """Tell the server every account again, as after it lost its files; what it has already stays as it is.

    \b
    Example:
      mra saas customer push
    """
    names = [one.name for one in reach.registry().all()]
    follow(reach, names, with_fixed=True)
    if as_json:
        show.print_json({"pushed": names})
    else:
        click.echo(f"The server knows {len(names)} customers.")


def change(reach: Reach, as_json: bool, name: str, alter: Callable[[Customer], Customer], done: str) -> None:
    """Decide something about a customer, make the server follow, and say so."""
    changed = reach.registry().change(name, alter)
    follow(reach, [changed.name])
    _say(changed, as_json, done)


def follow(reach: Reach, names: list[str], *, with_fixed: bool = False) -> None:
    """Make the server follow the registry for these customers. What it was told last is what was decided last."""
    from mra.saas import claims_api
    from mra.saas.setup import fixed_claims

    directory, registry = reach.directory(), reach.registry()
    signer = directory.operator_signer()
    with directory.locked("push"):
        accounts = fixed_claims(directory) if with_fixed else []
        accounts += [registry.claims(registry.get(name)) for name in names]

        async def work(session: Session) -> None:
            for account in accounts:
                await claims_api.push(session, account, signer, time.time())

        with_session(reach.system(), work)


def _limits(given: dict[str, Any], base: Limits | None = None) -> Limits | None:
    """`base`, or the usual limits, with what was given; None when nothing was."""
    import msgspec

    from mra.saas.accounts import DEFAULT_LIMITS

    named = {name: value for name, value in given.items() if value is not None}
    for size in ("payload", "data"):
        if size in named:
            named[size] = parse_size(named[size], f"--{size}")
    return msgspec.structs.replace(base or DEFAULT_LIMITS, **named) if named else None


def _state(one: Customer) -> str:
    return f"suspended: {one.reason}".removesuffix(": ") if one.suspended else "active"


def _document(one: Customer) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(one)
    limits = document.pop("limits")
    return {
        **document,
        "limits": {name: limits[name] for name in ("connections", "subscriptions", "payload", "data", "rows")},
    }


def _say(one: Customer, as_json: bool, done: str) -> None:
    if as_json:
        show.print_json(_document(one))
    else:
        click.echo(f"{one.name} ({one.account}) {done}.")
