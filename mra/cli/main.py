"""The `mra` command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mra import __version__
from mra.cli.options import agent_options
from mra.errors import EXIT_USAGE, MraError
from mra.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_CODES = """\b
Exit codes:
  0   done
  1   refused, or a check found something
  2   wrong usage, configuration or input
  75  not possible just now; try again later
"""
COMMANDS = {
    "run": "mra.cli.run:run",
    "status": "mra.cli.status:status",
    "submit": "mra.cli.submit:submit",
    "facts": "mra.cli.facts:facts",
    "machines": "mra.cli.machines:machines",
    "outbox": "mra.cli.outbox:outbox",
    "provision": "mra.cli.provision:provision",
    "reset": "mra.cli.reset:reset",
    "saas": "mra.cli.saas:saas",
    "completion": "mra.cli.completion:completion",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are called: `mra submit` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(str(command.name) for command in _own(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return next((command for command in _own(ctx) if command.name == cmd_name), None)
        module, _, name = target.partition(":")
        command: click.Command = getattr(__import__(module, fromlist=[name]), name)
        return command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if contact := (ctx.find_object(Options) or Options()).contact:
            formatter.write(f"\nContact: {contact}\n")


def _own(ctx: click.Context) -> Sequence[click.Command]:
    """The commands that a branded agent adds."""
    return (ctx.find_object(Options) or Options()).commands


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    options = agent_options()
    base = "" if options.version == __version__ and options.name == "mra" else f" (mra {__version__})"
    click.echo(f"{options.name}, version {options.version}{base}")
    ctx.exit()


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """A management agent that keeps what it accepts and delivers it exactly once.

    \b
    Examples:
      mra run --config /etc/mra/agent.toml
      mra submit app.orders order.json
      mra status
      mra outbox lanes
    """


def main() -> None:
    """Entry point of the console script."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str], options: Options | None = None) -> int:
    """Run one command and return its exit code. Errors become one sentence on standard error."""
    options = options or Options()
    try:
        outcome = cli.main(arguments, prog_name=options.name, standalone_mode=False, obj=options)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except MraError as error:
        click.echo(f"{options.name}: {error.sentence}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`mra outbox ls | head`): nothing is wrong.
        sys.stdout = None
        return 0
    return outcome if isinstance(outcome, int) else 0


if __name__ == "__main__":
    main()
