"""The commands of checks and metrics: where they run and what they find in their environment (section 3.1)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mra.machines import process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mra.machines.context import Context


def environment(context: Context, watcher: str) -> dict[str, str]:
    """All that such a command finds; nothing is inherited but the PATH, with the machine's directory after it."""
    return {
        "MACHINE_WATCHER_NAME": watcher,
        "MACHINE_NAME": context.origin.machine,
        "PATH": f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{context.directory}",
    }


async def run_command(context: Context, watcher: str, words: Sequence[str], patience: float) -> process.Finished:
    """Run it in the machine's directory for at most `patience` seconds. Raises and cancels as `process.run` does."""
    return await process.run(
        words, directory=context.directory, environment=environment(context, watcher), patience=patience
    )
