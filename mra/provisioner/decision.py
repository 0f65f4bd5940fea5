"""From a node's request to its answer: one pass over the rules, with the helper in the middle."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from mra.enrol import messages
from mra.enrol.shapes import Answer, Grant, Request, Statement
from mra.errors import BadInput, Busy, Refused, StoreBroken, Unavailable
from mra.log import logger
from mra.provisioner import ledger as rules
from mra.provisioner.admission import check_nonce
from mra.provisioner.authority import active, grant
from mra.provisioner.ledger import Case, NotYet

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.provisioner.authority import Authority, Customers
    from mra.provisioner.helper import Helper, HelperAnswer
    from mra.provisioner.ledger import Ledger

log = logger("provision")
DEFER_SECONDS = 60.0
_REMEMBERED = 10_000


class Judge:
    """Decides requests; many at once, those of one node one after the other and `least` seconds apart."""

    def __init__(
        self,
        authority: Authority,
        customers: Customers,
        ledger: Ledger,
        helper: Helper,
        secret: bytes,
        *,
        least: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authority = authority
        self._customers = customers
        self._ledger = ledger
        self._helper = helper
        self._secret = secret
        self._least = least
        self._now = now
        self._asked: dict[tuple[str, str], float] = {}  # Trio time of the last question to the helper
        self._busy: dict[tuple[str, str], trio.Lock] = {}

    async def answer(self, connection: str, request: Request) -> bytes:
        """The sealed answer to a request on a proven connection.

        Raises Refused when there is nobody whom an answer could be sealed for. Cancelling leaves the decision taken or
        not, never half taken.
        """
        statement = messages.read_statement(request)
        if statement.connection != connection:
            raise Refused("The statement was made on another connection: ask again.")
        check_nonce(self._secret, connection, statement.nonce, self._now())
        answer = await self._decide(request, statement)
        log.info(
            "decided",
            node=statement.identity,
            outcome=answer.outcome,
            reason=answer.reason,
            customer=answer.grant.customer if answer.grant else "",
        )
        return messages.seal_answer(answer, statement.reader, self._authority.issuer)

    async def _decide(self, request: Request, statement: Statement) -> Answer:
        def say(outcome: Any, reason: str = "", retry_after: float = 0.0, granted: Grant | None = None) -> Answer:
            return Answer(statement.request, statement.connection, outcome, reason, retry_after, granted)

        try:
            entitlement = self._authority.entitlement(request.credential, self._now())
            entitlement.check(statement)
            wanted = entitlement.customer, entitlement.account
            customer = await trio.to_thread.run_sync(active, self._customers, *wanted)
            decided = await self._enrol(Case(entitlement, statement, customer.account))
        except NotYet as wait:
            return say("failed", wait.sentence, wait.retry_after)
        except BadInput as error:  # the SaaS's own files: nothing that the node could change
            log.error("the SaaS's directory is unusable", reason=error.sentence)
            return say("failed", "The SaaS cannot enrol nodes just now.", rules.FIRST_WAIT)
        except Refused as error:
            return say("refused", error.sentence)
        except (StoreBroken, Busy) as error:
            log.error("a decision cannot be kept", reason=error.sentence)
            return say("failed", "The SaaS cannot keep its decisions just now.", rules.FIRST_WAIT)
        if isinstance(decided, Grant):
            return say("enrolled", granted=decided)
        if decided.shutdown:
            return say("shutdown", decided.msg[:500] or "The SaaS asks this node to stop.")
        return say("deferred", decided.msg[:500] or "The SaaS defers this node.", DEFER_SECONDS)

    async def _enrol(self, case: Case) -> Grant | HelperAnswer:
        lock = self._busy.setdefault(case.key, trio.Lock())
        try:
            async with lock:
                return await self._enrol_alone(case)
        finally:
            if not lock.locked():
                self._busy.pop(case.key, None)

    async def _enrol_alone(self, case: Case) -> Grant | HelperAnswer:
        before = await self._ledger.run(rules.check, case, self._now())
        if before is not None:
            return before
        self._pace(case.key)
        try:
            decided = await self._helper(question(case))
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.failure("the helper crashed", error)
            raise await self._failed(case, str(error) or type(error).__name__) from error
        if decided.defer or decided.shutdown:
            return decided
        try:
            made = await trio.to_thread.run_sync(grant, self._authority, self._customers, case, decided, self._now())
        except Unavailable as error:
            raise await self._failed(case, error.sentence) from error
        return await self._ledger.run(rules.commit, case, made, self._now())

    def _pace(self, key: tuple[str, str]) -> None:
        """Raises NotYet for a node that asks without pause: it would keep the helper from all others."""
        now = trio.current_time()
        wait = self._asked.get(key, -math.inf) + self._least - now
        if wait > 0:
            raise NotYet("This node asked a moment ago.", wait)
        if len(self._asked) > _REMEMBERED:
            self._asked = {node: asked for node, asked in self._asked.items() if asked + self._least > now}
        self._asked[key] = now

    async def _failed(self, case: Case, reason: str) -> NotYet:
        """What to raise for a node about which the helper could not decide; the next look at it is later each time."""
        wait = await self._ledger.run(rules.fail, case, reason, self._now())
        log.warning("the helper failed", node=case.statement.identity, reason=reason)
        return NotYet("The SaaS cannot decide about this node just now.", wait)


def question(case: Case) -> dict[str, Any]:
    """What the helper is asked: Choria's keys, and some of our own. No secret is among them. Pure."""
    statement, entitlement = case.statement, case.entitlement
    inventory = {"facts": statement.facts, "version": statement.version, "agents": [], "collectives": []}
    return {
        "identity": statement.identity,
        "csr": None,
        "ed25519_pubkey": {"public_key": statement.public_key, "directory": "", "signature": ""},
        "inventory": msgspec.json.encode(inventory).decode(),
        "jwt": dict(entitlement.claims or {}),
        "customer": entitlement.customer,
        "role": entitlement.role,
        "site": entitlement.site,
        "name": case.name,
        "public_nkey": statement.public_nkey,
        "renewal": entitlement.renews,
    }
