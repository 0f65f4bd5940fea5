"""`mra run`: the daemon."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from mra.cli.options import agent_options, config_option
from mra.groups import ungrouped

if TYPE_CHECKING:
    from pathlib import Path

    import trio

    from mra.options import Options
    from mra.settings import Settings


@click.command()
@config_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level that is logged.",
)
def run(config: Path, log_level: str) -> None:
    """Run the agent until SIGTERM or SIGINT.

    A first signal stops it in order, within ten seconds; a second one at once. Nothing accepted is lost either way.

    \b
    Example:
      mra run --config /etc/mra/agent.toml
    """
    import trio

    from mra import log
    from mra.settings import read_settings

    log.set_up(log_level)
    settings = read_settings(config)
    try:
        with ungrouped():
            trio.run(_main, settings, agent_options())
    except KeyboardInterrupt:
        raise click.Abort from None


async def _main(settings: Settings, options: Options) -> None:
    import trio

    from mra.app import run_agent

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, stop, nursery.cancel_scope)
        await run_agent(settings, stop, options)
        nursery.cancel_scope.cancel()


async def watch_signals(stop: trio.Event, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, cancel `everything` at the second; until cancelled."""
    import trio

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                everything.cancel()
            stop.set()
