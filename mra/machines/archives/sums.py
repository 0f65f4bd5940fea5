"""Checksum files, as `sha256sum` writes them, and the trees they describe (section 3.4 of the reference)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from mra.errors import BadInput
from mra.machines.archives.limits import parts_of
from mra.machines.archives.tree import open_regular, opened_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

SUMS_NAME: Final = "SHA256SUMS"
_LARGEST: Final = 4 * 1024 * 1024
_LINE: Final = re.compile(r"([0-9A-Fa-f]{64})\s+(\S.+)", re.ASCII)


def parse_sums(text: bytes) -> Mapping[tuple[str, ...], str]:
    """Digests in lower case by path. Raises `BadInput`.

    Upper-case digests, which Choria compares as text and so never finds equal, are accepted. As there, a name has at
    least two characters and the `*` that marks binary mode counts as part of it.
    """
    sums = {}
    for number, line in enumerate(text.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadInput(
                f"line {number} of the checksum file is no `<sha256>  <name>` with two characters in the name"
            )
        sums[_file_parts(match[2])] = match[1].lower()
    return sums


def sha256_of(file: BufferedReader) -> str:
    """The SHA-256 of a file from where it stands, in lower-case hex."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def tree_flaw(tree: Path, sums_name: str, sums_checksum: str) -> str:
    """What is wrong with a tree, in a clause; empty when nothing is. Files that are not listed do not count. Blocking.

    The checksum file must have the digest `sums_checksum`, and every file it lists its own.
    """
    try:
        with opened_directory(tree) as root:
            with open_regular(root, _file_parts(sums_name)) as file:
                text = file.read(_LARGEST + 1)
            if len(text) > _LARGEST:
                return f"checksum file {sums_name} is larger than {_LARGEST} bytes"
            if hashlib.sha256(text).hexdigest() != sums_checksum.lower():
                return f"checksum file {sums_name} does not have the expected checksum"
            for parts, digest in parse_sums(text).items():
                with open_regular(root, parts) as file:
                    if sha256_of(file) != digest:
                        return f"{'/'.join(parts)} does not have the checksum that {sums_name} lists"
    except OSError as fault:
        return f"{fault.filename or tree} cannot be read ({(fault.strerror or str(fault)).lower()})"
    except BadInput as refusal:
        return refusal.sentence
    return ""


def lists(tree: Path, sums_name: str, name: str) -> bool:
    """Whether the checksum file of a tree that was found flawless lists a file at its top. Blocking."""
    with opened_directory(tree) as root, open_regular(root, _file_parts(sums_name)) as file:
        return (name,) in parse_sums(file.read(_LARGEST))


def _file_parts(name: str) -> tuple[str, ...]:
    parts = parts_of(name)
    if not parts:
        raise BadInput(f"{name[:120]!a} names no file; use the name of one below its directory")
    return parts
