"""The expression language of machine manifests: a subset of expr-lang. (pure)

Expressions decide whether a plugin fits a node (`match`), when an expression watcher fires, and what hierarchical data
becomes. They are written for expr-lang and mean the same here.

Supported:

- literals: `true false nil`, integers (`42 1_000 0x2a 0o52 0b11`), floats, strings in single or double quotes with Go's
  escapes, raw strings in backticks, lists `[a, b]`, maps `{key: value, "other key": value}`; comments `//` and `/* */`
- operators, loosest first: `c ? a : b` and `c ?: b`; `|` into a call; `or ||`; `and &&`; `== != < <= > >= in matches
  contains startsWith endsWith`, the words also after `not`, the orderings also in chains (`1 < x < 5`); `..`; `+ -`;
  `not !` before a value; `* / %`; `- +` before a value; `** ^`; `??`
- members: `a.b a["b"] a?.b a?.["b"] list[0] list[-1] list[1:3]`
- predicates: `all any none one filter map count sum find findIndex findLast findLastIndex reduce`, with `#`, `.field`,
  `#index`, in reduce `#acc`, and optional braces
- functions: `len first last take reverse concat flatten uniq sort get keys values toPairs fromPairs; upper lower trim
  trimPrefix trimSuffix hasPrefix hasSuffix split join replace repeat indexOf lastIndexOf; abs ceil floor round min max
  mean median; int float string type toJSON fromJSON toBase64 fromBase64`
- whatever values and functions the environment offers (see `environments`)

Refused when compiling, by name and column: `let`, `if`/`else`, sequences, bytes, `$env`, methods, dates and durations,
bit operations, `groupBy`, `sortBy`, `splitAfter`, map keys that are expressions, and everything that expr-lang refuses.

Differences that can be seen: types are only checked when evaluating; maps compare by value with 1 equal to 1.0; keys
keep their order; a condition is never nil.

Theory of operation: text -> (Lark grammar, builder) -> flat operations -> (precedence) -> tree -> `Evaluation`.
Invariants: an expression reaches only JSON-like values, the built-in functions and the `Function`s of its environment,
never a Python attribute. Patterns are RE2, so linear in time. Source length, depth of the tree, steps and memory are
bounded; what cannot be paid is an `EvaluationError`. Any text either compiles or raises `BadInput`.
"""

from __future__ import annotations

from mra.machines.expressions.budget import Budget, Fault
from mra.machines.expressions.evaluator import Function
from mra.machines.expressions.expression import EvaluationError, Expression, compile_expression

__all__ = ["Budget", "EvaluationError", "Expression", "Fault", "Function", "compile_expression"]
