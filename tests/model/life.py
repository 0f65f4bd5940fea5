"""What happens to one site and its SaaS in every model, whatever else a model adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

if TYPE_CHECKING:
    from mra.outbox.record import Lane
    from tests.fakes import FakeSaas, FakeStream
    from tests.uplink.site import Site


class Life(RuleBasedStateMachine):
    """Sessions of an agent, and a SaaS that is backed up, restored and wiped. A model's first rule sets these up."""

    saas: FakeSaas
    site: Site
    backup: tuple[dict[Lane, FakeStream], dict[str, int]]

    @rule()
    def drain_quietly(self) -> None:
        self.site.drain()

    @rule(at=st.integers(0, 12), late=st.booleans())
    def drain_until_the_link_breaks(self, at: int, late: bool) -> None:
        self.site.drain(breaks_at=at, late=late)

    @rule(at=st.integers(0, 8), late=st.booleans())
    def drain_until_the_process_crashes(self, at: int, late: bool) -> None:
        self.site.drain(crashes_at=at, late=late)

    @rule()
    def the_saas_is_backed_up(self) -> None:
        self.backup = self.saas.snapshot()

    @rule()
    def the_saas_is_restored(self) -> None:
        self.saas.restore(self.backup)

    @rule()
    def the_saas_is_wiped(self) -> None:
        self.saas.wipe()
        self.backup = self.saas.snapshot()

    @rule(rows=st.sampled_from([2, 5, 1000]))
    def the_saas_takes_batches_of(self, rows: int) -> None:
        self.saas.most_rows = rows

    @rule(size=st.sampled_from([400, 3000, 64 * 1024]))
    def the_link_is_thin_or_not(self, size: int) -> None:
        self.site.memory.pace.bytes = size
