"""How the vendor's commands reach the SaaS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mra.errors import BadInput

if TYPE_CHECKING:
    from mra.aio.session import Access, Session

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


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


def access_from(server: str, user: str | None, password_file: Path | None) -> Access:
    """What the options name. Raises BadInput."""
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
