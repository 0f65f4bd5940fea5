"""Who shall lead a site, as the SaaS's desired state says it. Pure.

    site.leader           key of a customer that has one site, or sites without names
    site.leader.berlin    key of the site that is called so

The value is like `{"leader": "n2", "term": 2}`.
"""

from __future__ import annotations

import json
from typing import Final

from mra.errors import BadInput
from mra.site.terms import Term

FIRST_TERM: Final = 1  # of a leader that the configuration or the enrolment names
HIGHEST_TERM: Final = 2**53 - 1


def leader_key(site: str) -> str:
    """The key of a site by its name, which is empty where it has none."""
    return f"site.leader.{site}" if site else "site.leader"


def write_order(order: Term) -> bytes:
    """The value that says so."""
    return json.dumps({"leader": order.leader, "term": order.term}).encode()


def read_order(value: bytes) -> Term:
    """What a value says. Raises BadInput."""
    try:
        order = json.loads(value)
        term, leader = order["term"], order["leader"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f'Who leads a site is to be like {{"leader": "n2", "term": 2}} ({error!r}).') from error
    if not isinstance(term, int) or not isinstance(leader, str) or not 0 < term <= HIGHEST_TERM:
        raise BadInput(f"The order names {leader!r:.80} in term {term!r:.40}: a name and a whole number are needed.")
    if not 0 < len(leader) <= 64:
        raise BadInput(f"The order names {leader!r:.80} as leader: a name has 1 to 64 letters.")
    return Term(term, leader)
