"""How `mra outbox ...` opens the outbox: beside a running daemon, and with a sentence for whatever is wrong."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import click

from mra.control import poke_daemon
from mra.outbox import doubt, sqlite
from mra.outbox.opening import open_beside
from mra.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mra.outbox.sqlite import Connection
    from mra.settings import Settings

SEQ = click.IntRange(1, 2**63 - 1)


@contextmanager
def reading(config: Path) -> Iterator[Connection]:
    """A read-only connection for a block, whatever else has the file open. Raises BadInput, StoreBroken."""
    settings = read_settings(config, secrets=False)
    with reporting_damage(settings), closing(sqlite.connect_readonly(settings.database)) as connection:
        try:
            yield connection
        except sqlite.Error as error:
            raise sqlite.translate(error, settings.database) from error


@contextmanager
def writing(config: Path) -> Iterator[Connection]:
    """A read-write connection for a block; raises when what was written does not count. Makes no outbox."""
    settings = read_settings(config, secrets=False)
    sqlite.connect_readonly(settings.database).close()  # says what is wrong, and makes nothing
    with reporting_damage(settings), open_beside(settings.database, settings.outbox) as guest:
        yield guest.connection
        guest.confirm()


@contextmanager
def reporting_damage(settings: Settings) -> Iterator[None]:
    """Let the daemon know of damage that is met in a block: its own connections may not have met it yet."""
    try:
        yield
    except sqlite.Damaged:
        complain(settings)
        raise


def complain(settings: Settings) -> None:
    """Have the daemon examine the file: soon when it runs, else when it starts."""
    with suppress(OSError):  # not everybody who may read the file may write beside it
        doubt.raise_doubt(settings.database)
    poke_daemon(settings.socket, "examine")
