"""The `mra` command."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mra import __version__
from mra.cli.options import agent_options
from mra.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREAD, EXIT_USAGE, MraError
from mra.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EXIT_CODES = """\b
Exit codes:
  0   done
  1   refused, or a check found something
  2   wrong usage, configuration or input
  75  not possible just now; try again later
  130 interrupted, or a question was not answered with yes
  141 nobody reads the output any more
"""
# What a write to an open file can end with; those to our own files are told as errors of ours.
_FAILED_WRITES = frozenset({errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF})
COMMANDS = {
    "run": "mra.cli.run:run",
    "status": "mra.cli.status:status",
    "submit": "mra.cli.submit:submit",
    "facts": "mra.cli.facts:facts",
    "machines": "mra.cli.machines:machines",
    "outbox": "mra.cli.outbox:outbox",
    "provision": "mra.cli.provision:provision",
    "reset": "mra.cli.reset:reset",
    "site": "mra.cli.site:site",
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
    _open_closed_streams()
    try:
        outcome = _run(arguments, options)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None
        return EXIT_UNREAD
    except OSError as error:
        if error.filename or error.errno not in _FAILED_WRITES:
            raise
        sys.stdout = None  # what it still holds would fail again when the interpreter ends
        _complain(options, f"Standard output takes no more ({error.strerror}): make room for it and ask again.")
        return EXIT_FAILED
    return outcome


def _run(arguments: list[str], options: Options) -> int:
    output = sys.stdout
    try:
        outcome = cli.main(arguments, prog_name=options.name, standalone_mode=False, obj=options)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        with _whoever_listens():
            error.show()
        return EXIT_USAGE
    except MraError as error:
        _complain(options, error.sentence)
        return error.exit_code
    except SystemExit as ended:
        # Where nobody reads on (`mra outbox ls | head`), click and rich end the process: click once it has silenced
        # standard output, rich while it handles the error.
        if sys.stdout is not output or isinstance(ended.__context__, BrokenPipeError):
            return EXIT_UNREAD
        raise
    return outcome if isinstance(outcome, int) else EXIT_OK


def _complain(options: Options, sentence: str) -> None:
    with _whoever_listens():
        click.echo(f"{options.name}: {sentence}", err=True)


@contextmanager
def _whoever_listens() -> Iterator[None]:
    """Where standard error takes no more either, the exit code has to say it."""
    try:
        yield
    except OSError:
        sys.stderr = None


def _open_closed_streams() -> None:
    """Give what a caller has closed (`mra status >&-`) a stand-in, so that no file takes its descriptor."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    main()
