"""Options that many commands share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mra.options import Options
from mra.outbox.record import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def agent_options() -> Options:
    """What the agent whose command runs was branded with."""
    context = click.get_current_context(silent=True)
    found = context.find_object(Options) if context else None
    return found or Options()


def config_option(function: F) -> F:
    """`--config FILE`, also from the environment."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="MRA_CONFIG",
        default=lambda: agent_options().config_file,
        show_default="/etc/mra/agent.toml, or that of the brand",
        show_envvar=True,
        help="The agent's configuration.",
    )(function)


def json_option(function: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


LANE = click.Choice([lane.value for lane in Lane])


def actor() -> str:
    """Who is asking, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
