"""What may follow a published list of plugins, what it can go back to, and which seeds are accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mra.cli.plugin_lists import check_newer, earlier, newest, picture
from mra.cli.saas_plugins import read_seed
from mra.config.bucket import Entry
from mra.errors import BadInput, Refused
from mra.machines import spec

SEED = bytes(range(32))


def plugin(name):
    source = f"https://someone:secret@files.example/{name}.tgz"
    return spec.Plugin(name, source, "a" * 64, "b" * 64, username="u", password="hidden")


def signed(*names, serial=None):
    return spec.sign([plugin(name) for name in names], SEED, serial)


def writes(*values):
    return [Entry("machines", number, value) for number, value in enumerate(values, 1)]


def names(document):
    return [found.name for found in spec.entries(document.plugins)]


def test_going_back_takes_the_last_list_that_is_another_one():
    history = writes(signed("one"), signed("two"), signed("two", serial=7), b"junk", signed("two", serial=8))
    assert names(earlier(history, None)) == ["one"]
    assert names(earlier(history, 3)) == ["two"]


def test_after_a_removal_going_back_brings_the_list_that_was_removed():
    assert names(earlier(writes(signed("one"), signed("two"), None), None)) == ["two"]


@pytest.mark.parametrize("history", [[], writes(None), writes(b"junk"), writes(signed("one"), signed("one", serial=4))])
def test_without_an_earlier_list_there_is_nothing_to_go_back_to(history):
    with pytest.raises(Refused):
        earlier(history, None)


@pytest.mark.parametrize("revision", [0, 2, 9])
def test_only_a_specification_can_be_named_to_go_back_to(revision):
    with pytest.raises(Refused, match=f"Revision {revision}"):
        earlier(writes(signed("one"), b"junk"), revision)


@pytest.mark.parametrize(
    ("serial", "last", "fine"), [(8, 7, True), (7, 7, False), (6, 7, False), (None, 7, False), (None, None, True)]
)
def test_what_agents_would_refuse_as_older_is_refused_before_it_is_published(serial, last, fine):
    document, before = spec.parse(signed("new", serial=serial)), spec.parse(signed("old", serial=last))
    if fine:
        check_newer(document, before)
    else:
        with pytest.raises(Refused, match="greater serial"):
            check_newer(document, before)


def test_the_same_document_may_be_published_again():
    document = spec.parse(signed("same", serial=7))
    check_newer(document, document)
    assert newest(writes(signed("same", serial=7), b"junk", None)) == document


def test_a_picture_shows_no_password():
    shown = picture(writes(signed("one", serial=3))[0])
    assert (shown["serial"], shown["plugins"][0]["source"]) == ("3", "https://files.example/one.tgz")
    assert "hidden" not in str(shown)
    assert "secret" not in str(shown)


@given(
    st.none() | st.binary(max_size=60) | st.sampled_from([b"{}", b'{"plugins": "W10="}', b'{"plugins": "!"}', b"[1]"])
)
def test_whatever_was_published_has_a_picture(value):
    entry = Entry("machines", 1, value)
    shown = picture(entry)
    assert shown["problem"] or shown["plugins"] == []


@pytest.mark.parametrize("content", [SEED, SEED.hex().encode(), SEED.hex().upper().encode() + b"\n"])
def test_a_seed_is_32_bytes_or_64_hex_digits(tmp_path, content):
    file = tmp_path / "seed"
    file.write_bytes(content)
    file.chmod(0o600)
    assert read_seed(file) == SEED


@pytest.mark.parametrize(
    ("content", "mode"), [(SEED, 0o640), (SEED, 0o604), (b"", 0o600), (b"ab" * 31, 0o600), (SEED * 2, 0o600)]
)
def test_a_seed_that_others_can_read_or_that_is_none_is_refused(tmp_path, content, mode):
    file = tmp_path / "seed"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(BadInput, match="seed"):
        read_seed(file)
