"""`mra saas ...`: the vendor's side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.errors import BadInput

if TYPE_CHECKING:
    from mra.aio.session import Access, Session

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@click.group()
def saas() -> None:
    """Prepare and examine the SaaS's streams.

    \b
    Examples:
      mra saas streams apply --user backend --password-file backend.password
      mra saas verify --customer acme
    """


def access_options(function: F) -> F:
    """`--server`, `--user`, `--password-file`."""
    for option in (
        click.option(
            "--password-file",
            type=click.Path(path_type=Path),
            envvar="MRA_SAAS_PASSWORD_FILE",
            show_envvar=True,
            help="File with that user's password.",
        ),
        click.option(
            "--user", envvar="MRA_SAAS_USER", show_envvar=True, help="User of the account that owns the streams."
        ),
        click.option(
            "--server",
            help="Address of the nats-server.",
            default="nats://127.0.0.1:4222",
            envvar="MRA_SAAS_SERVER",
            show_default=True,
            show_envvar=True,
        ),
    ):
        function = option(function)
    return function


def _access(server: str, user: str | None, password_file: Path | None) -> Access:
    from mra.aio.session import Access

    password = None
    if password_file:
        try:
            password = password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BadInput(f"Cannot read {password_file} ({error.strerror}): check --password-file.") from error
    if (user is None) != (password is None):
        raise BadInput("--user and --password-file go together: give both or neither.")
    return Access((server,), "saas-tool", user, password)


def with_session(access: Access, work: Callable[[Session], Awaitable[T]]) -> T:
    """Run `work(session)` on a connection of its own. Raises what it raises."""
    import trio

    from mra.aio.session import open_session
    from mra.cli.run import only

    async def main() -> T:
        async with open_session(access) as session:
            return await work(session)

    try:
        return trio.run(main)
    except* Exception as group:
        raise only(group) from group
    raise AssertionError("unreachable")


@saas.group()
def streams() -> None:
    """The three streams and the CONFIG bucket."""


@streams.command("apply")
@access_options
@json_option
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Definitions to use instead of the shipped ones.",
)
def streams_apply(
    server: str, user: str | None, password_file: Path | None, as_json: bool, folder: Path | None
) -> None:
    """Create the streams, or bring existing ones to their definitions."""
    from mra.saas.streams import apply, definitions

    wanted = definitions(folder)
    done = with_session(_access(server, user, password_file), lambda session: apply(session, wanted))
    if as_json:
        show.print_json(dict(done))
    else:
        show.table(("Stream", "Result"), done, empty="No streams.")


@streams.command("check")
@access_options
@json_option
def streams_check(server: str, user: str | None, password_file: Path | None, as_json: bool) -> None:
    """Name what about the running streams breaks a promise; exit code 1 when something does."""
    from mra.saas.streams import check

    problems = with_session(_access(server, user, password_file), check)
    if as_json:
        show.print_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo("All streams are as they must be.")
    if problems:
        raise click.exceptions.Exit(1)


@saas.command()
@access_options
@json_option
@click.option("--customer", help="Only this customer.")
@click.option("--stream", "names", multiple=True, help="Only this stream; repeatable.")
def verify(
    server: str,
    user: str | None,
    password_file: Path | None,
    as_json: bool,
    customer: str | None,
    names: tuple[str, ...],
) -> None:
    """Prove from the streams alone that every lane is complete, or name the missing ranges; exit code 1 then."""
    from mra.saas import verify as verification
    from mra.saas.streams import check

    chosen = names or verification.ALL_STREAMS

    async def work(session: Session) -> tuple[list[dict[str, Any]], list[str]]:
        found: list[dict[str, Any]] = []
        for name in chosen:
            with show.progress(f"Reading {name}", enabled=not as_json) as report:
                lanes = await verification.verify_stream(session, name, customer=customer, progress=report)
            found += verification.document(name, lanes)
        return found, await check(session, tuple(chosen))

    lanes, problems = with_session(_access(server, user, password_file), work)
    complete = all(lane["complete"] for lane in lanes)
    if as_json:
        show.print_json({"complete": complete, "lanes": lanes, "stream_problems": problems})
    else:
        _print(lanes, problems)
    if not complete:
        raise click.exceptions.Exit(1)


def _print(lanes: list[dict[str, Any]], problems: list[str]) -> None:
    show.table(
        ("Customer", "Lane", "Rows", "Through", "Missing", "Duplicated", "Out of order", "Aged out"),
        [
            (
                lane["customer"], lane["lane"], lane["rows"], lane["through_seq"], len(lane["missing"]),
                lane["duplicated"], lane["reordered"], lane["aged_out"],
            )
            for lane in lanes
        ],
        empty="The streams hold no rows.",
    )  # fmt: skip
    for lane in lanes:
        for hole in lane["missing"]:
            click.echo(
                f"{lane['customer']} {lane['lane']}: rows {hole['first_seq']} to {hole['last_seq']} are missing."
            )
        for problem in lane["problems"]:
            click.echo(f"{lane['customer']} {lane['lane']}: {problem}.")
    for problem in problems:
        click.echo(f"Warning: {problem}.")
