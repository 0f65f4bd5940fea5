"""The customers of a SaaS: who they are, what they may use, whom they were denied. Blocking.

    customers/NAME/customer.json   what is decided about the customer
              NAME/signing.seed    the key that signs its nodes
              NAME/users/NODE      public keys that tokens were issued for, one a line
              NAME/sites/SITE      the seed that the keys of a site's authority follow from
    removed/ACCOUNT.json           who an id was; names may be used again, ids never are

What stands here is decided; `mra.saas.claims_api` makes the server follow. Each change is one file replaced under the
directory's lock, so a reader, such as the provisioner, sees a customer before or after it.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import msgspec

from mra.config.index import check_customer
from mra.credentials import read_secret, read_text
from mra.durable import sync_directory
from mra.errors import BadInput, MraError, Refused
from mra.saas import accounts
from mra.saas.accounts import BACKEND
from mra.saas.directory import make_directory, read_key, write
from mra.tokens import claims, nats, nkey
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mra.saas.directory import Directory
    from mra.tokens.claims import Limits
    from mra.tokens.nats import Claims

_NODE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Customer(msgspec.Struct, frozen=True):
    """One customer.

    Attributes:
        name: what people call it.
        account: public key of its account: the id in every subject.
        signer: public key of what signs its nodes.
        created: second since 1970.
        suspended: whether its connections are refused, and `reason` why.
        denied_nodes: names that get no token, and whose tokens are revoked.
        denied_users: public keys likewise.
    """

    name: str
    account: str
    signer: str
    created: int
    suspended: bool = False
    reason: str = ""
    limits: claims.Limits = accounts.DEFAULT_LIMITS  # named so that msgspec finds the type when it runs
    denied_nodes: tuple[str, ...] = ()
    denied_users: tuple[str, ...] = ()


def check_node(name: str) -> str:
    """`name`, if it can be a node's: one token of a subject, no wildcard. Raises BadInput."""
    if not _NODE.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no name of a node: use 1 to 64 letters, digits, dashes or underscores.")
    return name


def check_site(name: str) -> str:
    """`name`, if it can be a site's. Raises BadInput."""
    if not _NODE.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no name of a site: use 1 to 64 letters, digits, dashes or underscores.")
    return name


class Registry:
    """The customers in a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._folder = directory.path / "customers"

    def get(self, name: str) -> Customer:
        """A customer by name or account. Raises Refused for an unknown one."""
        if len(name) == 56 and name.startswith("A"):
            found = next((customer for customer in self.all() if customer.account == name), None)
            if found:
                return found
        customer = self._read(check_customer(name))
        if customer is None:
            raise Refused(f"There is no customer {name}: `mra saas customer ls` lists those there are.")
        return customer

    def all(self) -> list[Customer]:
        """Every customer by name."""
        if not self._folder.is_dir():
            return []
        found = (self._read(path.name) for path in sorted(self._folder.iterdir()) if not path.name.startswith("."))
        return [customer for customer in found if customer]

    def names(self) -> dict[str, str]:
        """Account -> name, of removed customers too."""
        gone = sorted((self._directory.path / "removed").glob("*.json"))
        former = {path.stem: f"{_decode(path).name} (removed)" for path in gone}
        return {**former, **{customer.account: customer.name for customer in self.all()}}

    def add(self, name: str, limits: Limits | None, now: float) -> tuple[Customer, bool]:
        """The customer of that name, made now where there is none, and whether it was. Raises BadInput, Refused.

        Without `limits` a new one gets the usual ones.
        """
        check_customer(name)
        if _is_key(name):
            raise BadInput("A customer's name cannot be a public key, as that is an id: choose another.")
        with self._directory.locked():
            found = self._read(name)
            if found is not None:
                if limits and found.limits != limits:
                    raise Refused(f"Customer {name} exists with other limits: use `mra saas customer limit {name}`.")
                return found, False
            signer = KeyPair.generate(Kind.ACCOUNT)
            account = KeyPair.generate(Kind.ACCOUNT).public
            bounds = limits or accounts.DEFAULT_LIMITS
            customer = Customer(name, account, signer.public, int(now), limits=bounds)
            make_directory(self._folder / name)
            write(self._folder / name / "signing.seed", signer.seed)
            self._write(customer)  # last: a directory without it is a customer that was never made
            sync_directory(self._folder)
            return customer, True

    def change(self, name: str, alter: Callable[[Customer], Customer]) -> Customer:
        """Replace what is decided about a customer; returns it. Raises Refused, BadInput."""
        with self._directory.locked():
            customer = alter(self.get(name))
            self._write(customer)
            return customer

    def remove(self, name: str) -> Customer:
        """Forget a customer and its key, but not whose id it was. Raises Refused, BadInput."""
        with self._directory.locked():
            customer = self.get(name)
            make_directory(self._directory.path / "removed")
            write(self._directory.path / "removed" / f"{customer.account}.json", _encode(customer))
            try:
                self._bury(customer.name)
            except OSError as error:
                raise BadInput(
                    f"Cannot remove {self._folder / customer.name} ({error.strerror}): do it by hand."
                ) from error
            return customer

    def _bury(self, name: str) -> None:
        """Take a customer's directory away at once, and then what was in it; also what an earlier kill left over."""
        (self._folder / name).rename(self._folder / f".{name}-{os.urandom(8).hex()}")
        sync_directory(self._folder)
        for grave in self._folder.glob(".*"):
            shutil.rmtree(grave)

    def issue(self, name: str, node: str, user: str, *, now: float, expires: int | None) -> str:
        """A token for the user key of a node, which is recorded first, so that denying the node revokes it.

        Raises Refused for a suspended customer and a denied node or key, BadInput for a wrong name or key.
        """
        check_node(node)
        nkey.check_public(user, Kind.USER)
        with self._directory.locked():
            customer = self.get(name)
            if customer.suspended:
                raise Refused(f"Customer {customer.name} is suspended: resume it before its nodes get tokens.")
            if node in customer.denied_nodes or user in customer.denied_users:
                raise Refused(f"Node {node} of {customer.name} is denied: `mra saas customer allow` takes that back.")
            self._record(customer, node, user)
        wanted = claims.scoped_user(node, user, account=customer.account, expires=expires)
        return nats.encode(wanted, self._signer(customer), now)

    def site_seed(self, name: str, site: str) -> bytes:
        """What the keys of the authority of a customer's site follow from; made when it is asked for first.

        Raises Refused for an unknown customer, BadInput for a name that no site can have.
        """
        check_site(site)
        with self._directory.locked():
            customer = self.get(name)
            file = self._folder / customer.name / "sites" / site
            if not file.exists():
                make_directory(file.parent)
                write(file, SigningKey.generate().seed)
                sync_directory(file.parent)
        try:
            return bytes.fromhex(SigningKey.from_seed(read_secret(file)).seed)
        except Refused as error:
            raise BadInput(f"{file} holds no seed: restore it from a backup.") from error

    def record_user(self, name: str, node: str, user: str) -> frozenset[str]:
        """Record a further key of a node, so that denying the node revokes it; return all keys that are revoked.

        Raises Refused for an unknown customer, BadInput for a wrong name or key.
        """
        check_node(node)
        nkey.check_public(user, Kind.USER)
        with self._directory.locked():
            customer = self.get(name)
            self._record(customer, node, user)
            return frozenset(self._revoked(customer))

    def claims(self, customer: Customer) -> Claims:
        """What the customer's account shall be on the server."""
        backend = self._directory.charter().accounts[BACKEND]
        return accounts.customer(
            customer.name, customer.account, customer.signer, backend=backend, limits=customer.limits,
            suspended=customer.suspended, revoked=self._revoked(customer),
        )  # fmt: skip

    def _revoked(self, customer: Customer) -> set[str]:
        keys = {key for node in customer.denied_nodes for key in self._users(customer, node)}
        return keys | set(customer.denied_users)

    def _signer(self, customer: Customer) -> KeyPair:
        return read_key(self._folder / customer.name / "signing.seed", Kind.ACCOUNT)

    def _users(self, customer: Customer, node: str) -> list[str]:
        file = self._folder / customer.name / "users" / node
        return read_text(file).split() if file.exists() else []

    def _record(self, customer: Customer, node: str, user: str) -> None:
        known = self._users(customer, node)
        if user not in known:
            make_directory(self._folder / customer.name / "users")
            write(self._folder / customer.name / "users" / node, "\n".join([*known, user, ""]))

    def _read(self, name: str) -> Customer | None:
        file = self._folder / name / "customer.json"
        return _decode(file) if file.exists() else None

    def _write(self, customer: Customer) -> None:
        write(self._folder / customer.name / "customer.json", _encode(customer))


def _is_key(name: str) -> bool:
    try:
        nkey.kind_of(name)
    except MraError:
        return False
    return True


def _encode(customer: Customer) -> str:
    return msgspec.json.format(msgspec.json.encode(customer), indent=2).decode() + "\n"


def _decode(file: Path) -> Customer:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Customer)
    except (msgspec.MsgspecError, OSError, RecursionError) as error:
        raise BadInput(f"{file} is damaged ({error}): restore it from a backup.") from error
