"""Options that many commands share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mra.outbox.record import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def config_option(function: F) -> F:
    """`--config FILE`, also from the environment."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="MRA_CONFIG",
        default=Path("/etc/mra/agent.toml"),
        show_default=True,
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
