"""Every decision of the provisioning service, in one SQLite file: whoever is killed, whenever, it knows what it said.

Each function is one transaction's worth of rules on a connection; `Ledger` runs them whole. The checks are made twice,
before the helper is asked and again together with the commit: two nodes, or two services on one file, may race.
"""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec

from mra.aio.database import Database, open_database
from mra.enrol.names import safe_name
from mra.enrol.shapes import Grant, Statement
from mra.errors import Refused, StoreBroken, Unavailable
from mra.outbox import sqlite
from mra.outbox.schema import sql_files, statements
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mra.outbox.sqlite import Connection
    from mra.provisioner.entitlement import Entitlement

P = ParamSpec("P")
T = TypeVar("T")
SCHEMA: Final = 1
FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 600.0


_ENROL: Final = """
    INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account, identity) DO UPDATE SET
        customer = excluded.customer, role = excluded.role, public_key = excluded.public_key,
        public_nkey = excluded.public_nkey, token_id = excluded.token_id, request = excluded.request,
        answer = excluded.answer, renewed = excluded.renewed, expires = excluded.expires
"""


class NotYet(Unavailable):
    """The node is to come back after `retry_after` seconds."""

    def __init__(self, sentence: str, retry_after: float) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Case:
    """A node's proven statement, what its token entitles it to, and the account of its customer."""

    entitlement: Entitlement
    statement: Statement
    account: str

    @property
    def key(self) -> tuple[str, str]:
        """Account and identity: what a node is known by."""
        return self.account, self.statement.identity

    @property
    def called(self) -> str:
        """The node in sentences."""
        return f"{self.statement.identity} of {self.entitlement.customer}"

    @property
    def name(self) -> str:
        """The node's name in subjects."""
        return safe_name(self.statement.identity)


def check_token(connection: Connection, token_id: str) -> None:
    """Raises Refused for a revoked token."""
    found = connection.execute("SELECT revoked FROM token WHERE id = ?", (token_id,)).fetchone()
    if found is not None and found[0] is not None:
        raise Refused(f"Token {token_id[:40]} has been revoked: ask the SaaS for another.")


def check(connection: Connection, case: Case, now: float) -> Grant | None:
    """The grant that the same request got before, or None for a node that may be enrolled.

    Raises Refused, or NotYet for a node whose last attempt failed a moment ago.
    """
    check_token(connection, case.entitlement.token_id)
    node = connection.execute(
        "SELECT public_key, public_nkey, request, answer FROM node WHERE account = ? AND identity = ?",
        case.key,
    ).fetchone()
    _check_identity(connection, case, node)
    _check_uses(connection, case)
    _check_name(connection, case)
    statement = case.statement
    if node is not None and tuple(node[:3]) == (statement.public_key, statement.public_nkey, statement.request):
        grant = msgspec.json.decode(node[3], type=Grant)
        if grant.expires > now:
            return grant
    waiting = connection.execute(
        "SELECT not_before, reason FROM waiting WHERE account = ? AND identity = ?", case.key
    ).fetchone()
    if waiting is not None and now < waiting[0] <= now + LONGEST_WAIT:  # a clock that stepped back locks nobody out
        raise NotYet(waiting[1], waiting[0] - now)
    return None


def _check_identity(connection: Connection, case: Case, node: Any) -> None:
    statement = case.statement
    if node is None:
        forgotten = connection.execute(
            "SELECT at FROM forgotten WHERE account = ? AND identity = ?", case.key
        ).fetchone()
        if case.entitlement.renews and forgotten is not None and case.entitlement.issued_at <= forgotten[0]:
            raise Refused(f"{case.called} is not enrolled any more: enrol with a provisioning token.")
        return
    if node[0] not in (statement.public_key, statement.previous):
        raise Refused(f"{case.called} belongs to another key: use that, or have the SaaS forget the node.")


def _check_uses(connection: Connection, case: Case) -> None:
    limit = case.entitlement.max_nodes
    if case.entitlement.renews or not limit:
        return
    used, by_this = connection.execute(
        "SELECT count(*), max(account = ? AND identity = ?) FROM token_use WHERE token_id = ?",
        (*case.key, case.entitlement.token_id),
    ).fetchone()
    if used >= limit and not by_this:
        raise Refused(f"Token {case.entitlement.token_id} has enrolled {used} of {limit} nodes: ask for another.")


def _check_name(connection: Connection, case: Case) -> None:
    other = connection.execute(
        "SELECT identity FROM node WHERE account = ? AND name = ? AND identity <> ?",
        (case.account, case.name, case.statement.identity),
    ).fetchone()
    if other is not None:
        raise Refused(f"{case.statement.identity} would share its name {case.name} with {other[0]}: give it another.")


def commit(connection: Connection, case: Case, grant: Grant, now: float) -> Grant:
    """Make `grant` the answer, unless another came first; return the one that counts. Raises as `check` does."""
    with transaction(connection):
        before = check(connection, case, now)
        if before is not None:
            return before
        statement, second = case.statement, int(now)
        connection.execute(
            _ENROL,
            (
                *case.key, grant.customer, grant.name, grant.role, statement.public_key, statement.public_nkey,
                case.entitlement.token_id, statement.request, msgspec.json.encode(grant).decode(), second, second,
                grant.expires,
            ),
        )  # fmt: skip
        if not case.entitlement.renews:
            connection.execute(
                "INSERT OR IGNORE INTO token_use VALUES (?, ?, ?, ?)", (case.entitlement.token_id, *case.key, second)
            )
        connection.execute("DELETE FROM waiting WHERE account = ? AND identity = ?", case.key)
    return grant


def fail(connection: Connection, case: Case, reason: str, now: float) -> float:
    """Remember a failure; return how many seconds the node has to wait, more each time, spread at random."""
    with transaction(connection):
        found = connection.execute(
            "SELECT failures FROM waiting WHERE account = ? AND identity = ?", case.key
        ).fetchone()
        failures = min(30, 1 + (found[0] if found else 0))
        ceiling = min(LONGEST_WAIT, FIRST_WAIT * 2**failures)
        wait = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, keeps no secret
        connection.execute(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?)", (*case.key, failures, now + wait, reason[:500])
        )
    return wait


def secret(connection: Connection, name: str) -> bytes:
    """32 random bytes that stay the same from now on."""
    with transaction(connection):
        connection.execute("INSERT OR IGNORE INTO secret VALUES (?, ?)", (name, os.urandom(32)))
        return bytes(connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()[0])


class Ledger:
    """Runs the functions of this module, and others like them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, unit: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """One whole unit of work; see `mra.aio.database.Database.run`."""
        return await self._database.run(unit, *args, **kwargs)


@asynccontextmanager
async def open_ledger(path: Path) -> AsyncIterator[Ledger]:
    """The ledger in `path`, which is made when it is missing. Raises StoreBroken."""
    async with open_database(path, partial(connect, path)) as database:
        yield Ledger(database)


def connect(path: Path) -> Connection:
    """A connection to the ledger, also for a command of the operator beside a running service. Raises StoreBroken."""
    connection = sqlite.connect(path)
    try:
        path.chmod(0o600)
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: Connection, path: Path) -> None:
    try:
        with transaction(connection):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in statements((sql_files() / "provisioner.sql").read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
    except sqlite.Error as error:
        raise sqlite.translate(error, path) from error
    if version > SCHEMA:
        raise StoreBroken(f"{path} was written by a newer version of this program: use that one.")
