"""Embedding: a branded agent is a name, a key and some code of one's own.

    from mra import Agent, Options

    Agent(Options(name="acme-agent", version="1.0.0", contact="help@acme.example")).main()

`lab/agent/branded.py` uses more of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mra.cli.main import COMMANDS, invoke
from mra.errors import BadInput
from mra.machines.watchers.registry import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.options import Options


class Agent:
    """The plain agent with these options. Raises BadInput when they contradict each other or the plain agent."""

    def __init__(self, options: Options) -> None:
        self.options = options
        registry(options.watchers)
        for command in options.commands:
            if not command.name or command.name in COMMANDS:
                raise BadInput(f"There is a command {command.name!r} already: give the added one another name.")

    def main(self) -> None:
        """Be the command line of this agent: read the arguments of the process, act, and exit."""
        sys.exit(self.invoke(sys.argv[1:]))

    def invoke(self, arguments: Sequence[str]) -> int:
        """Run one command and return its exit code; errors become one sentence on standard error."""
        return invoke(list(arguments), self.options)
