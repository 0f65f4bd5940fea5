"""Expanding a parsed template. (pure)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from mra.machines.expressions.budget import Budget, Fault
from mra.machines.golang import format_value, type_name
from mra.machines.templates.failures import TemplateError
from mra.machines.templates.functions import ArgumentError, Function, is_true
from mra.machines.templates.parser import parse
from mra.machines.templates.syntax import Branch, Call, Dot, Fields, Literal, Node, Operand, Pipeline, Print, Text

MOST_STEPS: Final = 200_000  # about half a second
MOST_OUTPUT: Final = 4 << 20
MOST_MEMORY: Final = 4 * MOST_OUTPUT  # passed through functions on the way
SHORT_CIRCUITS: Final = frozenset({"and", "or"})


def expand_with(source: str, functions: Mapping[str, Function], escape: Callable[[str], str] | None = None) -> str:
    """The text with its actions replaced by what they print.

    Args:
        source: the template.
        functions: what it may call, beside `and` and `or`.
        escape: applied to everything that actions print, and not to the text between them.

    Raises `TemplateError`. Time and size of the result are bounded, whatever the template says.
    """
    if "{{" not in source:
        return source
    expansion = _Expansion(functions, escape or (lambda printed: printed))
    expansion.run(parse(source, frozenset(functions) | SHORT_CIRCUITS), None)
    return "".join(expansion.output)


class _Expansion:
    def __init__(self, functions: Mapping[str, Function], escape: Callable[[str], str]) -> None:
        self.functions = functions
        self.escape = escape
        self.output: list[str] = []
        self.size = 0
        self.budget = Budget(MOST_STEPS, MOST_MEMORY)

    def run(self, nodes: Iterable[Node], dot: object) -> None:
        for node in nodes:
            match node:
                case Text(text=text):
                    self.write(text)
                case Print(pipeline=pipeline):
                    self.write(self.escape(self.printed(pipeline, dot)))
                case Branch():
                    self.branch(node, dot)

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > MOST_OUTPUT:
            raise TemplateError(f"a template expands to more than {MOST_OUTPUT} characters; make it smaller")
        self.output.append(text)

    def printed(self, pipeline: Pipeline, dot: object) -> str:
        value = self.pipeline(pipeline, dot)
        with _quoting(pipeline):
            self.budget.hold_printed(value)
        return "<no value>" if value is None else format_value(value)

    def branch(self, node: Branch, dot: object) -> None:
        value = self.pipeline(node.pipeline, dot)
        if node.keyword == "range":
            with _quoting(node.pipeline):
                elements = _elements(value)
                self.budget.spend(len(elements))
            for element in elements:
                self.run(node.body, element)
            if not elements:
                self.run(node.otherwise, dot)
        elif is_true(value):
            self.run(node.body, value if node.keyword == "with" else dot)
        else:
            self.run(node.otherwise, dot)

    def pipeline(self, pipeline: Pipeline, dot: object) -> object:
        """The value of the last command. Raises `TemplateError` that quotes the pipeline."""
        with _quoting(pipeline):
            value = self.operand(pipeline.commands[0], dot)
            for command in pipeline.commands[1:]:
                assert isinstance(command, Call)
                value = self.call(command, dot, (value,))
        return value

    def operand(self, operand: Operand, dot: object) -> object:
        self.budget.spend()
        match operand:
            case Literal(value=value):
                return value
            case Dot():
                return dot
            case Call():
                return self.call(operand, dot, ())
            case Pipeline():
                return self.pipeline(operand, dot)
            case Fields():
                return _fields(self.operand(operand.target, dot), operand.names)

    def call(self, call: Call, dot: object, piped: Sequence[object]) -> object:
        name, count = call.function, len(call.arguments) + len(piped)
        if name in SHORT_CIRCUITS:
            return self.short_circuit(call, dot, piped)
        function = self.functions[name]
        if not function.fewest <= count <= function.most:
            raise ArgumentError(f"{name} does not take {count} arguments")
        arguments = [*(self.operand(argument, dot) for argument in call.arguments), *piped]
        self.budget.spend(function.steps)
        for argument in arguments:
            if function.prints or isinstance(argument, str):
                self.budget.hold_printed(argument)
        try:
            return function.call(*arguments)
        except ArgumentError as reason:
            raise ArgumentError(f"{name}: {reason}") from None

    def short_circuit(self, call: Call, dot: object, piped: Sequence[object]) -> object:
        """The first argument that decides, or the last one."""
        if not call.arguments and not piped:
            raise ArgumentError(f"{call.function} does not take 0 arguments")
        decides = call.function == "or"
        value: object = None
        for argument in call.arguments:
            value = self.operand(argument, dot)
            if is_true(value) is decides:
                return value
        return piped[0] if piped else value


def _elements(value: object) -> Sequence[object]:
    """What range visits: the entries of a list, the values of a map in the order of its keys, nothing for nil."""
    match value:
        case None:
            return ()
        case list() | tuple():
            return value
        case Mapping():
            return [value[key] for key in sorted(value, key=str)]
        case _:
            raise ArgumentError(f"range cannot visit {type_name(value)}")


def _fields(value: object, names: Sequence[str]) -> object:
    for name in names:
        if not isinstance(value, Mapping):
            raise ArgumentError(f"{type_name(value)} has no field {name!r}")
        value = value.get(name)
    return value


@contextmanager
def _quoting(pipeline: Pipeline) -> Iterator[None]:
    """Turn what goes wrong inside into a `TemplateError` that quotes the pipeline."""
    try:
        yield
    except (ArgumentError, Fault) as reason:
        line = " ".join(pipeline.source.split())
        action = f"{{{{ {line if len(line) <= 60 else line[:59] + '…'} }}}}"
        raise TemplateError(f"template action {action!r}: {reason}") from None
