"""Making a SaaS's directory: everything that is missing, and nothing twice. Blocking.

May be killed and repeated anywhere: `saas.json` decides what the SaaS is, and every later step follows from it. Keys
are never replaced. The operator's own seed is asked for only while something is missing that it alone can sign, so
that it can be kept elsewhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from mra.credentials import from_creds
from mra.errors import BadInput, MraError
from mra.saas import accounts, server_config
from mra.saas.accounts import BACKEND, PROVISIONING, SYS
from mra.saas.directory import Charter, Directory, make_directory, write
from mra.tokens import claims, creds, nats
from mra.tokens.ed25519 import SigningKey
from mra.tokens.nkey import KeyPair, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from mra.saas.server_config import Listen
    from mra.tokens.nats import Claims

FIXED = (SYS, BACKEND, PROVISIONING)
_USERS = (("sys", SYS), ("backend", BACKEND), ("provisioner", PROVISIONING))


class Setup:
    """One run; `done` tells what it made or changed, by path relative to the directory."""

    def __init__(self, directory: Directory, now: float) -> None:
        self._directory = directory
        self._now = now
        self.done: list[str] = []

    def run(self, name: str, listen: Listen, *, tls_ca: Path | None = None) -> Charter:
        """Make what is missing. Raises BadInput."""
        root = self._directory.path
        for folder in (root, root / "keys", root / "creds", root / "accounts", root / "customers"):
            make_directory(folder)
        with self._directory.locked():
            return self._make(name, listen, tls_ca)

    def _make(self, name: str, listen: Listen, tls_ca: Path | None) -> Charter:
        charter = self._charter(listen, tls_ca)
        signer = self._key("operator-signing", Kind.OPERATOR)
        for account in FIXED:
            self._key(account.lower(), Kind.ACCOUNT)
        self._issuer()
        self._operator_token(name, charter, signer)
        users = {user: self._user(user, account, charter) for user, account in _USERS}
        tokens = self._accounts(charter, signer, users["provisioner"])
        self._server(charter, tokens, listen)
        return charter

    def _charter(self, listen: Listen, tls_ca: Path | None) -> Charter:
        if (self._directory.path / "saas.json").exists():
            return self._directory.charter()
        identity = self._key("operator", Kind.OPERATOR)
        fixed = {account: KeyPair.generate(Kind.ACCOUNT).public for account in FIXED}
        charter = Charter(identity.public, fixed, listen.url, str(tls_ca.absolute()) if tls_ca else "")
        self._write("saas.json", json.dumps(msgspec.to_builtins(charter), indent=2) + "\n")
        return charter

    def _key(self, name: str, kind: Kind) -> KeyPair:
        if not self._directory.key_file(name).exists():
            self._write(f"keys/{name}.seed", KeyPair.generate(kind).seed)
        return self._directory.key(name, kind)

    def _issuer(self) -> None:
        if not self._directory.key_file("issuer").exists():
            self._write("keys/issuer.seed", SigningKey.generate().seed)
        self._write("issuer.pub", self._directory.issuer().public)

    def _operator_token(self, name: str, charter: Charter, signer: KeyPair) -> None:
        file = self._directory.path / "operator.jwt"
        if file.exists() and signer.public in _claims_in(file).nats.get("signing_keys", ()):
            return
        identity = self._directory.key("operator", Kind.OPERATOR)
        if identity.public != charter.operator:
            raise BadInput(f"{self._directory.key_file('operator')} is another operator's key: restore the right one.")
        system = charter.accounts[SYS]
        wanted = claims.operator(name, identity.public, signing_keys=[signer.public], system_account=system)
        self._write("operator.jwt", nats.encode(wanted, identity, self._now))

    def _user(self, user: str, account: str, charter: Charter) -> str:
        """The public key of a user, whose credentials are made where they are missing or of another signer."""
        file = self._directory.creds_file(user)
        signer = self._directory.account_signer(account)
        if file.exists():
            found = from_creds(file)
            if nats.decode(found.user_jwt()).issuer == signer.public:
                return found.public
        key = KeyPair.generate(Kind.USER)
        permissions = accounts.SYS_USER if account == SYS else None
        wanted = claims.user(user, key.public, permissions, account=charter.accounts[account])
        self._write(f"creds/{user}.creds", creds.compose(nats.encode(wanted, signer, self._now), key))
        return key.public

    def _accounts(self, charter: Charter, signer: KeyPair, provisioner: str) -> dict[str, str]:
        """Tokens of the fixed accounts by public key; a token that says the same already is kept."""
        public = charter.accounts
        sign = {account: self._directory.account_signer(account).public for account in FIXED}
        wanted = {
            SYS: accounts.system(public[SYS], sign[SYS]),
            BACKEND: accounts.backend(public[BACKEND], sign[BACKEND]),
            PROVISIONING: accounts.provisioning(public[PROVISIONING], sign[PROVISIONING], provisioner),
        }
        tokens = {}
        for account, content in wanted.items():
            file = self._directory.path / "accounts" / f"{account}.jwt"
            if not (file.exists() and _says(file, content, signer.public)):
                self._write(f"accounts/{account}.jwt", nats.encode(content, signer, self._now))
            tokens[content.subject] = file.read_text(encoding="ascii")
        return tokens

    def _server(self, charter: Charter, tokens: dict[str, str], listen: Listen) -> None:
        root = self._directory.path.absolute()
        operator = (root / "operator.jwt").read_text(encoding="ascii")
        self._write(
            "operator.conf",
            server_config.generated(operator, charter.accounts[SYS], tokens, self._sentinel(charter), root),
        )
        if not (root / "saas.conf").exists():
            self._write("saas.conf", server_config.editable(listen, root))

    def _sentinel(self, charter: Charter) -> str:
        """The token of whoever has none: it opens nothing, but sends the connection through the auth callout."""
        file = self._directory.path / "accounts" / "sentinel.jwt"
        signer = self._directory.account_signer(PROVISIONING)
        if not file.exists() or _claims_in(file).issuer != signer.public:
            nobody = KeyPair.generate(Kind.USER).public
            account = charter.accounts[PROVISIONING]
            wanted = claims.user("sentinel", nobody, accounts.NOTHING, account=account, bearer=True)
            self._write("accounts/sentinel.jwt", nats.encode(wanted, signer, self._now))
        return file.read_text(encoding="ascii")

    def _write(self, name: str, text: str) -> None:
        if write(self._directory.path / name, text):
            self.done.append(name)


def fixed_claims(directory: Directory) -> list[Claims]:
    """Claims of SYS, BACKEND and PROVISIONING as `mra saas init` left them. Raises BadInput."""
    return [_claims_in(directory.path / "accounts" / f"{account}.jwt") for account in FIXED]


def _claims_in(file: Path) -> Claims:
    try:
        return nats.decode(file.read_bytes())
    except MraError as error:
        raise BadInput(f"{file}: {error.sentence}") from error


def _says(file: Path, wanted: Claims, signer: str) -> bool:
    found = _claims_in(file)
    return (found.nats, found.name, found.issuer) == (dict(wanted.nats), wanted.name, signer)
