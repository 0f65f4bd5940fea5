"""The `mra` command."""

from __future__ import annotations

import sys

import click

from mra import __version__
from mra.errors import EXIT_USAGE, MraError

_EXIT_CODES = """\b
Exit codes:
  0   done
  1   refused, or a check found something
  2   wrong usage, configuration or input
  75  not possible just now; try again later
"""
_COMMANDS = {
    "run": "mra.cli.run:run",
    "status": "mra.cli.status:status",
    "submit": "mra.cli.submit:submit",
    "facts": "mra.cli.facts:facts",
    "outbox": "mra.cli.outbox:outbox",
    "saas": "mra.cli.saas:saas",
    "completion": "mra.cli.completion:completion",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are called: `mra submit` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(__import__(module, fromlist=[name]), name)
        return command


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)
@click.version_option(__version__, prog_name="mra")
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


def invoke(arguments: list[str]) -> int:
    """Run one command and return its exit code. Errors become one sentence on standard error."""
    try:
        outcome = cli.main(arguments, prog_name="mra", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except MraError as error:
        click.echo(f"mra: {error.sentence}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`mra outbox ls | head`): nothing is wrong.
        sys.stdout = None
        return 0
    return outcome if isinstance(outcome, int) else 0


if __name__ == "__main__":
    main()
