"""The node's side as it runs: enrol however long it takes, then keep the enrolment good while the agent runs."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from mra.backoff import full_jitter
from mra.enrol.enrolment import (
    Enrolment,
    Standing,
    judge,
    keep_enrolment,
    load_enrolment,
    request_id,
    write_copies,
)
from mra.enrol.exchange import Asked, ask
from mra.enrol.keys import NodeKeys, load_keys, load_or_make_keys
from mra.enrol.offers import Offers, check_customer
from mra.errors import MraError, Refused, Unavailable
from mra.groups import first, ungrouped
from mra.log import logger
from mra.tokens import nats, servers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mra.enrol.settings import EnrolSettings
    from mra.enrol.shapes import Answer, Grant

log = logger("enrol")
CHECK_SECONDS: Final = 3600.0
REFUSED_FACTOR: Final = 4.0  # a refusal takes a person to change it
LEAST_SECONDS: Final = 600.0  # between two renewals, whatever the clock says


class ShutdownAsked(Refused):
    """The SaaS wants this node to stop."""


class _Later(Unavailable):
    """The SaaS answered that the node is to come back."""

    def __init__(self, sentence: str, seconds: float) -> None:
        super().__init__(sentence)
        self.seconds = seconds


@dataclass
class EnrolStatus:
    """What `mra provision status` shows of a running node."""

    state: str = "idle"  # idle, enrolling, waiting, enrolled
    attempts: int = 0  # since the last success
    last_error: str | None = None


class Enroller:
    """Enrols one node. `facts` gives what is sent along, without secrets."""

    def __init__(
        self,
        settings: EnrolSettings,
        version: str,
        facts: Callable[[], Mapping[str, Any]] = dict,
        *,
        dice: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.status = EnrolStatus()
        self._offers = Offers(settings)
        self._version = version
        self._facts = facts
        self._dice = dice or random.Random()  # noqa: S311 - spreads load, keeps no secret

    async def enrol(self) -> Enrolment:
        """Ask until the node is enrolled; what was received is on disk when this returns.

        Raises ShutdownAsked, and nothing else: whatever goes wrong is tried again, for ever. Cancelling loses nothing;
        the next run repeats the same request.
        """
        delays = full_jitter(self.settings.retry_first, self.settings.retry_cap, self._dice)
        self.status.attempts = 0
        while True:
            self.status.state = "enrolling"
            try:
                with ungrouped():
                    enrolment = await self._attempt(self.status.attempts)
            except ShutdownAsked:
                raise
            except MraError as error:
                pause = self._note(error, next(delays))
            except Exception as bug:
                # Ours or a library's, or several errors at once: it must not end an agent that others rely on.
                log.failure("an attempt to enrol failed in an unexpected way", bug)
                pause = self._note(first(bug), next(delays))
            else:
                self.status.state, self.status.attempts, self.status.last_error = "enrolled", 0, None
                return enrolment
            self.status.state = "waiting"
            await trio.sleep(pause)

    def _note(self, error: BaseException, delay: float) -> float:
        self.status.attempts += 1
        self.status.last_error = str(error)
        log.once_per(60, "not enrolled yet; it is tried again", reason=str(error))
        if isinstance(error, _Later):
            return error.seconds * self._dice.uniform(1.0, 1.2)
        return delay * REFUSED_FACTOR if isinstance(error, Refused) else delay

    async def _attempt(self, number: int) -> Enrolment:
        directory = self.settings.directory
        keys, before = load_or_make_keys(directory), load_enrolment(directory)
        credentials = self._offers.credentials(before, keys)
        credential = credentials[number % len(credentials)]
        request = request_id(directory)
        asked = Asked(self.settings.identity, request, self._version, self._facts())
        seen = self._offers.token()
        answer, signer = await ask(credential, keys, asked)
        grant = _granted(answer)
        _check(grant, keys)
        check_customer(before, grant.customer)
        enrolment = Enrolment(
            grant,
            keys.identity.public,
            keys.user.public,
            credential.urls,
            signer,
            request,
            credential.ca,
            seen.id if seen else "",
            credential.via,
        )
        keep_enrolment(directory, enrolment)
        write_copies(directory, enrolment)
        log.info("enrolled", customer=grant.customer, name=grant.name, role=grant.role)
        return enrolment

    async def keep(self, refused: Callable[[], Awaitable[None]], changed: Callable[[Enrolment], None]) -> None:
        """Renew long before the end, and whenever the SaaS refuses what the node has; until cancelled.

        `refused()` returns when the SaaS does not take the node's credentials any more. `changed` is called with a new
        enrolment that says something else than the one before. Raises ShutdownAsked.
        """
        self.status.state = "enrolled"
        while True:
            before, standing = self._look()
            with trio.move_on_after(self._seconds_to_look(before, standing)) as waiting:
                await refused()
            if waiting.cancelled_caught and self._look()[1] is Standing.VALID:
                continue
            log.info("renewing the enrolment", standing=standing.value)
            after = await self.enrol()
            if before is None or _settings_of(before.grant) != _settings_of(after.grant):
                changed(after)
            # Whatever the clock says, or the SaaS refuses: no node asks without pause.
            await trio.sleep(min(LEAST_SECONDS, after.validity / 10) * self._dice.uniform(0.5, 1.0))

    def _look(self) -> tuple[Enrolment | None, Standing]:
        directory = self.settings.directory
        enrolment = load_enrolment(directory)
        standing = judge(enrolment, load_keys(directory), time.time())
        if standing is Standing.VALID and self._offers.is_replaced(enrolment):
            return enrolment, Standing.DUE
        return enrolment, standing

    def _seconds_to_look(self, enrolment: Enrolment | None, standing: Standing) -> float:
        """Until the next look: spread, so that nodes that were enrolled together do not return together."""
        if enrolment is None or standing is not Standing.VALID:
            return 0.0
        due = max(0.0, enrolment.due - time.time()) + enrolment.validity * self._dice.uniform(0.0, 0.1)
        return min(due, CHECK_SECONDS * self._dice.uniform(0.5, 1.0))


def _granted(answer: Answer) -> Grant:
    if answer.grant is not None:
        return answer.grant
    reason = answer.reason or f"The SaaS answered {answer.outcome}."
    if answer.outcome == "shutdown":
        raise ShutdownAsked(reason)
    if answer.outcome == "refused":
        raise Refused(reason)
    raise _Later(reason, max(0.0, min(3600.0, answer.retry_after)))


def _check(grant: Grant, keys: NodeKeys) -> None:
    """Raises Refused for a grant that is not for these keys: keeping it would lock the node out."""
    user, server = nats.decode(grant.nats_jwt), servers.read(grant.server_jwt)
    if (user.subject, user.name, server.public_key) != (keys.user.public, grant.name, keys.identity.public):
        raise Refused("The SaaS's grant is for other keys than this node's: ask the SaaS.")
    if grant.site is not None:
        on_bus = nats.decode(grant.site.user)
        if (on_bus.subject, on_bus.name) != (keys.bus_user.public, grant.name):
            raise Refused("The SaaS's grant for the site's bus is for another key than this node's: ask the SaaS.")


def _settings_of(grant: Grant) -> tuple[object, ...]:
    """What the rest of the agent runs by."""
    site = grant.site and (grant.site.name, grant.site.authority, bool(grant.site.certificate))
    return grant.customer, grant.account, grant.name, grant.role, grant.urls, grant.configuration, site
