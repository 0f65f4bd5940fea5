"""How the vendor's commands reach the SaaS, and whom they mean by a customer's name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mra.errors import BadInput, Unavailable
from mra.groups import ungrouped
from mra.units import parse_duration

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from mra.aio.session import Access, Session
    from mra.saas.directory import Directory
    from mra.saas.registry import Registry

T = TypeVar("T")
_SERVER = "nats://127.0.0.1:4222"
_NAME = "saas-tool"  # the inbox that the SYS user may listen on is called after it

_directory_option = click.option(
    "--saas",
    "home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MRA_SAAS_DIR",
    show_envvar=True,
    help="Directory of the SaaS, made by `mra saas init`; brings address and credentials.",
)
_server_option = click.option(
    "--server",
    help="Address of the nats-server.",
    envvar="MRA_SAAS_SERVER",
    show_default=f"the directory's, or {_SERVER}",
    show_envvar=True,
)
_tls_option = click.option(
    "--tls-ca",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MRA_SAAS_TLS_CA",
    show_envvar=True,
    help="Certificates to judge the server by, instead of the system's.",
)
_user_options = (
    click.option(
        "--creds",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="MRA_SAAS_CREDS",
        show_envvar=True,
        help="Credentials file of a user of the account that owns the streams.",
    ),
    click.option(
        "--user", envvar="MRA_SAAS_USER", show_envvar=True, help="User of that account, for servers with passwords."
    ),
    click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        envvar="MRA_SAAS_PASSWORD_FILE",
        show_envvar=True,
        help="File with that user's password.",
    ),
)


@dataclass(frozen=True)
class Reach:
    """What the options of a command name. Everything raises BadInput where they do not fit."""

    home: Path | None = None
    server: str | None = None
    creds: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    tls_ca: Path | None = None

    def access(self) -> Access:
        """A connection as the owner of the streams."""
        if (self.user is None) != (self.password_file is None):
            raise BadInput("--user and --password-file go together: give both or neither.")
        if self.user is not None and self.creds is not None:
            raise BadInput("--creds and --user exclude each other: give one of them.")
        if self.user is not None and self.password_file is not None:
            return self._access(user=self.user, password=_password(self.password_file))
        creds = self.creds or (self.directory().creds_file("backend") if self.home else None)
        return self._access(creds)

    def system(self) -> Access:
        """A connection as the one that pushes accounts."""
        return self._access(self.directory().creds_file("sys"))

    def provisioner(self) -> Access:
        """A connection as the one that enrols nodes."""
        return self._access(self.directory().creds_file("provisioner"))

    def directory(self) -> Directory:
        """The directory of the SaaS, which some commands cannot do without."""
        from mra.saas.directory import Directory

        if self.home is None:
            raise BadInput("Which SaaS is meant: give --saas DIR, or set MRA_SAAS_DIR.")
        return Directory(self.home)

    def registry(self) -> Registry:
        """The customers in that directory."""
        from mra.saas.registry import Registry

        directory = self.directory()
        directory.charter()
        return Registry(directory)

    def customer(self, name: str) -> str:
        """The id of a customer in subjects, by its name or that id; without a directory, ids are names.

        Raises Refused for an unknown one.
        """
        from mra.config.index import check_customer

        if not self.home:
            return check_customer(name)
        registry = self.registry()
        return name if name in registry.names() else registry.get(name).account

    def names(self) -> dict[str, str]:
        """id -> name, as far as names are known."""
        return self.registry().names() if self.home else {}

    def _access(self, creds: Path | None = None, *, user: str | None = None, password: str | None = None) -> Access:
        from mra.aio.session import Access
        from mra.credentials import from_creds

        charter = self.directory().charter() if self.home else None
        server = self.server or (charter.server if charter else _SERVER)
        authority = self.tls_ca or (Path(charter.tls_ca) if charter and charter.tls_ca else None)
        tls = _tls(authority) if authority else None
        if creds is None:
            return Access((server,), _NAME, user, password, tls)
        found = from_creds(creds)
        return Access((server,), _NAME, tls=tls, user_jwt=found.user_jwt, sign=found.sign)


def access_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say where the SaaS is and who we are; the command gets them as its argument `reach`."""
    return _collected(function, (_directory_option, _server_option, *_user_options, _tls_option))


def system_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that change accounts: only the directory's own credentials can."""
    return _collected(function, (_directory_option, _server_option, _tls_option))


def directory_option(function: Callable[..., None]) -> Callable[..., None]:
    """`--saas` alone, for commands that do not go there; the command gets it as its argument `reach`."""
    return _collected(function, (_directory_option,))


def _collected(
    function: Callable[..., None], options: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...]
) -> Callable[..., None]:
    names = Reach.__dataclass_fields__.keys()

    @wraps(function)
    def collect(**given: Any) -> None:
        reach = Reach(**{name: given.pop(name) for name in names & given.keys()})
        function(reach=reach, **given)

    wrapped: Callable[..., None] = collect
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _password(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check --password-file.") from error


def _tls(authority: Path) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{authority} is no PEM file of certificates ({error}): check --tls-ca.") from error


def with_session(access: Access, work: Callable[[Session], Awaitable[T]]) -> T:
    """Run `work(session)` on a connection of its own. Raises what it raises."""
    import trio

    from mra.aio.session import open_session

    async def main() -> T:
        async with open_session(access) as session:
            return await work(session)

    try:
        with ungrouped():
            return trio.run(main)
    except KeyboardInterrupt:
        raise click.Abort from None


def in_rounds(every: str | None, work: Callable[[], None]) -> None:
    """Do `work` once, or with a pause of `every` for ever; then a round that is not possible just now ends nothing."""
    pause = None if every is None else parse_duration(every, "--every")
    while True:
        try:
            work()
        except Unavailable as error:
            if pause is None:
                raise
            click.echo(f"{error} It is tried again.", err=True)
        if pause is None:
            return
        time.sleep(pause)
