"""What a branded agent adds to the plain one: its names, its key, its own code. Everything has a default."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mra import __version__
from mra.errors import BadInput

if TYPE_CHECKING:
    import click

    from mra.facts.settings import Hook
    from mra.machines.compiled import CompiledMachine
    from mra.machines.watchers.base import Watcher
    from mra.outbox.record import Draft, Receipt
    from mra.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY = re.compile(r"(?:[0-9A-Fa-f]{64})?")


@dataclass(frozen=True)
class Running:
    """An agent that runs, as a ready hook sees it.

    `append` accepts a record and returns once it is on disk. `facts` gives the newest facts, empty at first.
    """

    settings: Settings
    append: Callable[[Draft], Awaitable[Receipt]]
    facts: Callable[[], Mapping[str, Any]]


Ready = Callable[[Running], Awaitable[None]]
"""Called once when the agent runs; may go on as long as it likes, and is cancelled when the agent stops."""


@dataclass(frozen=True)
class Options:
    """How an agent differs from the plain one.

    Attributes:
        name: of the program; its configuration is `/etc/<name>/agent.toml` unless `config` says otherwise.
        version: of the branded agent, as events, facts and `--version` tell it.
        contact: where its users find help.
        signing_key: ed25519 public key in hex, of the signer of plugin specifications. It cannot be configured away.
        config: the default configuration file.
        facts: gives additional facts; see `mra.facts.Hook`.
        ready: called when the agent runs. When it fails, the log says so and the agent goes on.
        commands: further commands of the command line.
        watchers: further types of watchers.
        machines: machines that are part of the agent.
        deny: names of plugins and machines that may not run, together with those that the configuration names.

    Raises BadInput for a name or key that cannot be one.
    """

    name: str = "mra"
    version: str = __version__
    contact: str = ""
    signing_key: str = ""
    config: Path | None = None
    facts: Hook | None = None
    ready: Ready | None = None
    commands: Sequence[click.Command] = ()
    watchers: Sequence[type[Watcher[Any]]] = ()
    machines: Sequence[CompiledMachine] = ()
    deny: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadInput(f"An agent cannot be called {self.name[:64]!r}: use letters, digits, dashes or underscores.")
        if not _KEY.fullmatch(self.signing_key):
            raise BadInput("Options.signing_key is no ed25519 public key: write 64 hex digits.")

    @property
    def config_file(self) -> Path:
        """The configuration that is read when no other is named."""
        return self.config or Path("/etc") / self.name / "agent.toml"

    @property
    def build(self) -> Mapping[str, str]:
        """What facts tell of the program."""
        return {"name": self.name, "version": self.version, "contact": self.contact}
