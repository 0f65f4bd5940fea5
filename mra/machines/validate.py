"""Checks of manifests for people who write them: `mra machines validate`. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mra.errors import BadInput
from mra.machines.manifest import WatcherKind, read_manifest
from mra.machines.problems import Problem, Severity
from mra.machines.scan import MANIFEST, Found, look, scan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one manifest, in the order of the file."""

    source: str
    problems: tuple[Problem, ...]

    @property
    def runs(self) -> bool:
        """Whether the machine runs, advice or not."""
        return all(problem.severity is Severity.ADVICE for problem in self.problems)

    @property
    def sentences(self) -> list[str]:
        """One line for each problem, which begins with its severity."""
        return [f"{problem.severity}: {problem.sentence(self.source)}" for problem in self.problems]


def validate(directory: Path, kinds: Mapping[str, WatcherKind]) -> list[Verdict]:
    """Check the machine in a directory, or all machines of a machines directory.

    Raises:
        BadInput: it is no directory, or there is no machine in it.
    """
    try:
        found = [look(directory)] if (directory / MANIFEST).exists() else scan(directory)
    except OSError as fault:
        raise BadInput(f"{directory} cannot be listed ({fault.strerror}): name a directory of machines.") from fault
    if not found:
        raise BadInput(f"There is no {MANIFEST} in {directory} or a directory in it: name one that holds machines.")
    return [_verdict(each, kinds) for each in found]


def _verdict(found: Found, kinds: Mapping[str, WatcherKind]) -> Verdict:
    source = str(found.directory / MANIFEST)
    if found.fault:
        reason = found.fault.removeprefix(f"{source} ").removesuffix(".")
        return Verdict(source, (Problem(0, 0, Severity.ERROR, "", reason),))
    return Verdict(source, read_manifest(found.text, source, kinds).problems)
