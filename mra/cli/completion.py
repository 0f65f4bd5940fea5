"""`mra completion`: shell completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


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
    click.echo(kind(cli, {}, "mra", "_MRA_COMPLETE").source())
