"""`mra completion`: shell completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mra.cli.options import agent_options


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      mra completion bash > ~/.local/share/bash-completion/completions/mra
      mra completion zsh > "${fpath[1]}/_mra"
    """
    from mra.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    name = agent_options().name
    click.echo(kind(cli, {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE").source())
