from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines import words


@given(st.lists(st.text()))
def test_quoted_words_come_back_as_they_were(parts):
    assert words.split(" ".join(words.quote(part) for part in parts)) == parts


@given(st.text(alphabet="ab \t\n'\"\\#"))
def test_any_line_is_split_or_refused(line):
    with suppress(BadInput):
        assert all(set(word) <= set(line) for word in words.split(line))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/bin/echo hello", ["/bin/echo", "hello"]),
        ("  a\tb\r\nc ", ["a", "b", "c"]),
        ("a 'b  c' d", ["a", "b  c", "d"]),
        (r"'a\b'", [r"a\b"]),
        (r'"a\b"', ["ab"]),
        (r'"a\"b"', ['a"b']),
        (r"a\ b", ["a b"]),
        ("a'b'\"c\"d", ["abcd"]),
        ("'' \"\"", ["", ""]),
        ("a # rest\nb", ["a", "b"]),
        ("a#b", ["a#b"]),
        ("$HOME *.py", ["$HOME", "*.py"]),
        ("", []),
        ("# only a comment", []),
    ],
)
def test_splitting(line, expected):
    assert words.split(line) == expected


@pytest.mark.parametrize("line", ["'open", '"open', "end\\", '"end\\'])
def test_unfinished_lines_are_refused(line):
    with pytest.raises(BadInput, match="the command"):
        words.split(line)
