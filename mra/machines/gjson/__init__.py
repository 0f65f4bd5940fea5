"""gjson paths: how manifests point into facts, machine data and overrides. (pure)

A path is compiled once into steps and walked over a decoded JSON document, so nothing is parsed at each look-up:

    facts.cpu.0.model        keys and list positions          fav\\.movie        an escaped dot, star or question mark
    disks.#                  how many                         disks.#.device    that field of each entry that has it
    c?u.model*               wildcards in keys (first match)  a.b|0             a pipe: the next path sees all of it
    nics.#(name=="eth0").ip  first entry that matches         nics.#(up==true)#.name   every entry that matches
    nics.#(addresses.#(=="::1"))#                             a query inside a query
    disks.@reverse.0         a modifier

Queries compare with `== = != < <= > >= % !%` (the last two are wildcard matches) and with `~true ~false ~null ~*`, or
only ask whether the path exists. Modifiers: `@this @valid @ugly @pretty @reverse @keys @values @flatten @join`.

Left out, and refused by name: multipaths `{a,b}` and `[a,b]`, literals `!"x"`, JSON lines `..`, and the modifiers
`@tostr @fromstr @group @dig`. A known difference: an escaped wildcard stays literal beside a real one.

Invariants: what is not there is `MISSING`, never None (JSON null is a value that exists). Documents are read, never
changed. Paths and documents come from outside: path length, nesting and the number of values looked at are bounded.
"""

from __future__ import annotations

from mra.machines.gjson.path import Path, compile_path
from mra.machines.gjson.search import MISSING, Missing, find, text_of

__all__ = ["MISSING", "Missing", "Path", "compile_path", "find", "get", "text_of"]


def get(document: object, path: str) -> object:
    """The value at `path`, or `MISSING`. Raises `BadInput` for a path outside the subset or one that asks too much."""
    return find(document, compile_path(path))
