"""What a node can show for itself: the server token of its last enrolment, and the provisioning token given to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mra.enrol.exchange import Credential, credential_of
from mra.errors import MraError, Refused, Unavailable
from mra.tokens import choria, servers

if TYPE_CHECKING:
    from pathlib import Path

    from mra.enrol.enrolment import Enrolment
    from mra.enrol.keys import NodeKeys
    from mra.enrol.settings import EnrolSettings
    from mra.tokens.choria import Provisioning

_LARGEST_TOKEN = 64 * 1024


class Offers:
    """The tokens of one node, read when they are asked for."""

    def __init__(self, settings: EnrolSettings) -> None:
        self._settings = settings

    def credentials(self, before: Enrolment | None, keys: NodeKeys) -> list[Credential]:
        """What may entitle this node, the likeliest first; what is unusable is left out.

        Raises Refused when nothing else is there, Unavailable when there is nothing at all.
        """
        found: list[Credential] = []
        problem: MraError = Unavailable(f"There is no provisioning token at {self._settings.token}: copy it there.")
        offers = [partial(_by_enrolment, before, keys), partial(self._by_token, before)]
        for offer in reversed(offers) if self.is_replaced(before) else offers:
            try:
                credential = offer()
            except MraError as error:
                problem = error
            else:
                found += [credential] if credential else []
        if not found:
            raise problem
        return found

    def _by_token(self, before: Enrolment | None) -> Credential | None:
        text = _read(self._settings.token)
        if text is None:
            return None
        check_customer(before, choria.read(text).extension("customer"))
        return credential_of(text, ca=(_read(self._settings.ca) or "") if self._settings.ca else "")

    def token(self) -> Provisioning | None:
        """The provisioning token that lies there, if it makes sense."""
        try:
            text = _read(self._settings.token)
            return choria.read(text) if text else None
        except MraError:
            return None

    def is_replaced(self, before: Enrolment | None) -> bool:
        """Whether another token of the same customer was put there since, as to give the node another role."""
        offered = self.token()
        if before is None or offered is None or offered.extension("customer") != before.grant.customer:
            return False
        return offered.id != before.token


def check_customer(before: Enrolment | None, customer: str) -> None:
    """Raises Refused for another customer than the node's: it would be given what the outbox holds for this one."""
    if before is not None and customer != before.grant.customer:
        raise Refused(
            f"The provisioning token is for {customer[:60]!r}, but this node holds records of "
            f"{before.grant.customer!r}: `mra reset` it first."
        )


def _by_enrolment(before: Enrolment | None, keys: NodeKeys) -> Credential | None:
    """The server token of the enrolment before, for whoever still has its key."""
    own = {key.public for key in (keys.identity, keys.previous) if key}
    if before is None or before.public_key not in own:
        return None
    token = before.grant.server_jwt
    id_ = servers.verify(token, issuers={before.issuer}).id
    return Credential(token, id_, before.provisioner_urls, frozenset({before.issuer}), before.ca, before.via)


def _read(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            return opened.read(_LARGEST_TOKEN).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"Cannot read {file} ({error.strerror}): check its owner and mode.") from error
    except UnicodeDecodeError:
        raise Refused(f"{file} is no token: it holds other characters.") from None
