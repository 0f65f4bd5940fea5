"""The parts of a parsed template."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or nil."""

    value: object


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`, the value that range or with is looking at; nil outside."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function with the arguments written behind it."""

    function: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """`.a.b`, or `(…).a.b`: keys looked up one after the other."""

    target: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each of which gets the result of the one before as its last argument."""

    commands: tuple[Operand, ...]
    source: str


Operand = Literal | Dot | Call | Fields | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Print:
    """`{{ pipeline }}`."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`, its body and its else."""

    keyword: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Print | Branch
