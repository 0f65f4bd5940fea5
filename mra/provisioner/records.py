"""What the operator does to the ledger, beside a running service: tokens, and nodes to forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mra.enrol.shapes import Grant
from mra.errors import Refused
from mra.outbox.transaction import transaction

if TYPE_CHECKING:
    from mra.outbox.sqlite import Connection
    from mra.tokens.choria import Provisioning


def remember_token(connection: Connection, token: Provisioning, *, max_nodes: int, now: float) -> None:
    """Note a token that was just made, so that it can be listed."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (token.id, token.extension("customer"), token.extension("role"), max_nodes, int(now), token.expires),
        )


def revoke_token(connection: Connection, token_id: str, now: float) -> None:
    """Have a token refused from now on, whether it was made here or not. Nodes that it enrolled stay enrolled."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO token (id, revoked) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET revoked = coalesce(revoked, excluded.revoked)",
            (token_id, int(now)),
        )


def tokens(connection: Connection, customer: str | None = None) -> list[dict[str, Any]]:
    """Every token that is known here, with the number of nodes that it enrolled; the newest first."""
    return _rows(
        connection,
        "SELECT id, customer, role, max_nodes, (SELECT count(*) FROM token_use WHERE token_id = id) AS used, created, "
        "expires, revoked FROM token WHERE ? IS NULL OR customer = ? ORDER BY created DESC, id",
        (customer, customer),
    )


def nodes(connection: Connection, customer: str | None = None) -> list[dict[str, Any]]:
    """Every enrolled node."""
    return _rows(
        connection,
        "SELECT customer, account, identity, name, role, public_key, public_nkey, token_id, enrolled, renewed, expires "
        "FROM node WHERE ? IS NULL OR customer = ? ORDER BY customer, identity",
        (customer, customer),
    )


def check_may_lead(connection: Connection, account: str, name: str, site: str) -> None:
    """Raises Refused for a node that has nothing to lead that site with: then nobody would."""
    found = connection.execute("SELECT answer FROM node WHERE account = ? AND name = ?", (account, name)).fetchone()
    if found is None:
        raise Refused(f"There is no node {name} of this customer: `mra saas node ls` lists those it has.")
    granted = msgspec.json.decode(found[0], type=Grant).site
    if granted is None or granted.name != site:
        raise Refused(f"{name} is not in site {site[:64]}: name one of its nodes.")
    if not granted.certificate:
        raise Refused(
            f"{name} may not lead site {site}: give it a bus in the rules, `mra provision renew` there, and repeat."
        )


def waiting(connection: Connection) -> list[dict[str, Any]]:
    """Nodes whose last attempt failed, and when they are looked at again."""
    return _rows(connection, "SELECT * FROM waiting ORDER BY account, identity")


def forget_node(connection: Connection, account: str, identity: str, now: float) -> str:
    """Let another key take an identity of an account; return the public user key that had it.

    What the node has already counts until it expires. Raises Refused for an unknown node.
    """
    key = (account, identity)
    with transaction(connection):
        connection.execute("DELETE FROM waiting WHERE account = ? AND identity = ?", key)
        found = connection.execute(
            "DELETE FROM node WHERE account = ? AND identity = ? RETURNING public_nkey", key
        ).fetchone()
        if found is None:
            raise Refused(f"There is no node {identity[:60]} of this customer: `mra saas node ls` lists those it has.")
        connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?)", (*key, int(now)))
        return str(found[0])


def _rows(connection: Connection, sql: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
