"""`mra saas provisioner`: the service that enrols nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mra.cli.saas_access import Reach, system_options
from mra.errors import BadInput
from mra.groups import ungrouped
from mra.units import parse_duration

if TYPE_CHECKING:
    from mra.aio.session import Access
    from mra.provisioner.opening import Choices
    from mra.saas.directory import Directory

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@system_options
@click.option("--helper", type=_FILE, help="Program to ask about every node (JSON in, JSON out), instead of the rules.")
@click.option("--helper-time", default="10s", show_default=True, help="How long the program may take.")
@click.option("--rules", type=_FILE, help="Configuration by customer and role; default: rules.toml of the directory.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Nodes looked at at once.")
@click.option("--validity", default="90d", show_default=True, help="Of what nodes get; they renew long before.")
@click.option("--url", "urls", multiple=True, help="Where enrolled nodes find the SaaS; default: its address.")
@click.option("--issuer", "issuers", multiple=True, help="Further key (hex) whose provisioning tokens are accepted.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    help="Least level that is logged.",
)  # fmt: skip
def provisioner(
    reach: Reach, helper: Path | None, helper_time: str, rules: Path | None, workers: int, validity: str,
    urls: tuple[str, ...], issuers: tuple[str, ...], log_level: str,
) -> None:  # fmt: skip
    """Enrol nodes that present a provisioning token, until SIGTERM or SIGINT.

    Every decision is in provisioner.db of the SaaS's directory before it is told, so the service can be killed and
    started at any time; several may run on one directory.

    \b
    Examples:
      mra saas provisioner --saas /srv/saas
      mra saas provisioner --saas /srv/saas --helper /srv/saas/decide --workers 8
    """
    import trio

    from mra import log
    from mra.provisioner.opening import Choices

    if helper and rules:
        raise BadInput("--helper and --rules exclude each other: a program decides alone.")
    log.set_up(log_level)
    choices = Choices(
        urls, issuers, parse_duration(validity, "--validity"), helper.absolute() if helper else None,
        parse_duration(helper_time, "--helper-time"), rules,
    )  # fmt: skip
    with ungrouped():
        trio.run(_main, reach.directory(), reach.provisioner(), choices, workers)


async def _main(directory: Directory, access: Access, choices: Choices, workers: int) -> None:
    import trio

    from mra import systemd
    from mra.cli.run import watch_signals
    from mra.provisioner.ledger import open_ledger
    from mra.provisioner.opening import DATABASE, authority_of, helper_of
    from mra.provisioner.service import Service, run_provisioner
    from mra.saas.registry import Registry

    stop = trio.Event()
    authority, helper = authority_of(directory, choices), helper_of(directory, choices)
    async with open_ledger(directory.path / DATABASE) as ledger, trio.open_nursery() as nursery:
        await nursery.start(watch_signals, stop, nursery.cancel_scope)
        service = Service(authority, Registry(directory), ledger, helper, workers)
        nursery.start_soon(run_provisioner, service, access)
        systemd.notify("READY=1")
        await stop.wait()
        nursery.cancel_scope.cancel()
