from __future__ import annotations

import hashlib
import os

import pytest

from mra.errors import BadInput
from mra.machines.archives.sums import parse_sums, tree_flaw

A = hashlib.sha256(b"one").hexdigest()


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one").write_bytes(b"one")
    (tmp_path / "SHA256SUMS").write_text(f"{A}  sub/one\n")
    return tmp_path


def flaw(tree):
    return tree_flaw(tree, "SHA256SUMS", hashlib.sha256((tree / "SHA256SUMS").read_bytes()).hexdigest())


def test_lines_are_read_and_digests_lowered():
    assert parse_sums(f"{A.upper()}  one\n\n{A} \t two words\n".encode()) == {("one",): A, ("two words",): A}


@pytest.mark.parametrize("line", ["", "x" * 70, f"{A}  a", f"{A}", f"{A[:-1]}  one", f"  {A}  one"])
def test_lines_that_are_none_are_named(line):
    if not line:
        assert parse_sums(b"") == {}
        return
    with pytest.raises(BadInput, match="line 2"):
        parse_sums(f"{A}  one\n{line}".encode())


@pytest.mark.parametrize("name", ["../one", "/etc/passwd", "./"])
def test_names_may_not_lead_elsewhere(name):
    with pytest.raises(BadInput):
        parse_sums(f"{A}  {name}".encode())


def test_a_tree_as_listed_has_no_flaw_and_other_files_do_not_count(tree):
    (tree / "machine_data.json").write_text("{}")
    assert flaw(tree) == ""


def test_an_upper_case_checksum_of_the_sums_is_accepted(tree):
    digest = hashlib.sha256((tree / "SHA256SUMS").read_bytes()).hexdigest().upper()
    assert tree_flaw(tree, "SHA256SUMS", digest) == ""


def test_an_altered_file_is_found(tree):
    (tree / "sub" / "one").write_bytes(b"two")
    assert flaw(tree) == "sub/one does not have the checksum that SHA256SUMS lists"


def test_altered_sums_are_found(tree):
    assert "expected checksum" in tree_flaw(tree, "SHA256SUMS", A)


def test_missing_things_are_found(tree):
    (tree / "sub" / "one").unlink()
    assert "one cannot be read" in flaw(tree)
    (tree / "SHA256SUMS").unlink()
    assert "SHA256SUMS cannot be read" in tree_flaw(tree, "SHA256SUMS", A)
    assert "cannot be read" in tree_flaw(tree / "nowhere", "SHA256SUMS", A)


def test_no_link_is_followed_and_no_pipe_waited_for(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "one"
    outside.write_bytes(b"one")
    (tree / "sub" / "one").unlink()
    (tree / "sub" / "one").symlink_to(outside)
    assert flaw(tree)
    (tree / "sub" / "one").unlink()
    os.mkfifo(tree / "sub" / "one")
    assert "no regular file" in flaw(tree)
