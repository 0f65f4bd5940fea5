"""What the settings are once they are read. (pure)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mra.aio.session import Access
    from mra.enrol.settings import EnrolSettings
    from mra.facts.settings import FactsSettings
    from mra.outbox.policy import OutboxSettings
    from mra.site.settings import SiteSettings
    from mra.submit.intake import IntakeSettings
    from mra.uplink.service import UplinkSettings


@dataclass(frozen=True)
class MachinesSettings:
    """Autonomous agents.

    Attributes:
        enabled: whether the daemon runs any.
        directory: each directory in it that holds a `machine.yaml` is one.
        scan_seconds: how often that is looked through for what is new, changed or gone.
        overrides: a YAML or JSON file with values for nagios checks, by machine, if there is one.
        signing_key: ed25519 public key in hex, of whoever signs plugin specifications; empty when none is asked for.
        deny: names of plugins and machines that may not run.
        text_files: where a Prometheus node exporter reads files, if one does.
        extra_ca: certificates of authorities that are trusted beside the system's when archives are fetched.
    """

    enabled: bool
    directory: Path
    scan_seconds: float
    overrides: Path | None
    signing_key: str
    deny: frozenset[str]
    text_files: Path | None
    extra_ca: Path | None


@dataclass(frozen=True)
class Settings:
    """What the daemon and the commands are configured to do."""

    name: str
    state: Path
    access: Access
    durability: str
    role: str  # of this node, as its enrolment says; empty otherwise
    customer: str | None  # whose desired state the agent follows; None when it follows none
    sealing_key: str  # public text of the key that files for the SaaS are sealed to; empty when none is set
    outbox: OutboxSettings
    uplink: UplinkSettings
    facts: FactsSettings | None  # None when facts are switched off
    submit: IntakeSettings
    machines: MachinesSettings
    file: Path = field(compare=False)  # where they were read
    names_itself: bool  # whether the file says how the node is called, or its host does
    site: SiteSettings | None  # None for a node that stands alone
    enrol: EnrolSettings | None  # None when the file says by itself how the SaaS is reached
    takes_submissions: bool  # whether the daemon serves the socket; the file can be written to all the same

    @property
    def database(self) -> Path:
        """The outbox's file."""
        return self.state / "outbox.db"

    @property
    def socket(self) -> Path:
        """The daemon's control socket."""
        return self.state / "mra.sock"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this state directory."""
        return self.state / "daemon.lock"
