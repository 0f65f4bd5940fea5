from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, Refused
from mra.machines.spec import Plugin, Untrusted, public_key, read, sign

SEED = bytes(range(32))
KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
SIGNATURE = (
    "2235fb179a234edc86dcee118dd0fe7db9c4d498e7ccd969c5659bb3e422b22d"
    "8f9e706a037645958cd64a3019c850ae0a7b897159ed231fa61cdf69c246ab0d"
)
EXAMPLE = Path(__file__).parents[3] / "shared" / "interop" / "choria-example"

needs_example = pytest.mark.skipif(
    not EXAMPLE.is_dir(), reason="the published example is not beside the repository, see shared/interop"
)


def plugin(name="echo", **others):
    return Plugin(
        **{
            "name": name,
            "source": f"https://plugins.example/{name}.tgz",
            "checksum": "a" * 64,
            "verify_checksum": "b" * 64,
            **others,
        }
    )


def unsigned(plugins):
    """A document around any JSON value, without a signature."""
    return {"plugins": base64.b64encode(json.dumps(plugins).encode()).decode()}


def entry(**others):
    return {
        "name": "echo",
        "source": "https://p.example/e.tgz",
        "checksum": "a" * 64,
        "verify_checksum": "b" * 64,
        **others,
    }


def test_the_reference_vector_is_made_and_verified():
    document = json.loads(sign([], SEED))
    assert document == {"plugins": "W10=", "signature": SIGNATURE}
    assert read(document, KEY).plugins == ()


@needs_example
def test_the_published_example_verifies_unchanged():
    key = (EXAMPLE / "signer.pub").read_text().strip()
    specification = read((EXAMPLE / "plugins.json").read_bytes(), key)
    assert [each.name for each in specification.plugins] == ["echo"]
    assert specification.plugins[0].checksum.startswith("6ef5988a")
    assert specification.serial is None


@needs_example
def test_the_published_example_is_not_anyone_elses():
    with pytest.raises(Untrusted):
        read((EXAMPLE / "plugins.json").read_bytes(), KEY)


def test_what_is_signed_is_what_is_read():
    plugins = (plugin("one", match='identity("^edge")', governor="G"), plugin("two", username="u", password="p"))
    specification = read(sign(plugins, SEED, serial=7), KEY)
    assert specification.plugins == plugins
    assert specification.serial == 7


def test_the_document_may_be_text_bytes_or_what_machine_data_holds():
    raw = sign([plugin()], SEED, serial=1)
    assert read(raw, KEY) == read(raw.decode(), KEY) == read(json.loads(raw), KEY)


@pytest.mark.parametrize("part", ["plugins", "signature", "serial", "serial_signature"])
def test_no_part_can_be_altered(part):
    document = json.loads(sign([plugin()], SEED, serial=41))
    other = json.loads(sign([plugin("other")], SEED, serial=42))
    with pytest.raises(Untrusted):
        read({**document, part: other[part]}, KEY)


def test_the_serial_cannot_be_raised_without_its_signature():
    document = json.loads(sign([plugin()], SEED))
    with pytest.raises(Untrusted, match="has no serial_signature"):
        read({**document, "serial": "9"}, KEY)


def test_one_signature_cannot_pass_for_the_other():
    document = json.loads(sign([plugin()], SEED, serial=1))
    swapped = {**document, "signature": document["serial_signature"], "serial_signature": document["signature"]}
    with pytest.raises(Untrusted):
        read(swapped, KEY)


@pytest.mark.parametrize("signature", [None, "", "00", "no hex", "ff" * 64])
def test_with_a_key_a_missing_or_wrong_signature_is_refused(signature):
    with pytest.raises(Untrusted):
        read({**unsigned([entry()]), "signature": signature}, KEY)


def test_without_a_key_signatures_are_not_looked_at():
    assert read({**unsigned([entry()]), "signature": "nonsense", "serial": "5"}).serial is None


@pytest.mark.parametrize("key", ["00", "x" * 64, KEY[:-1]])
def test_a_key_that_is_none_is_the_operators_mistake(key):
    with pytest.raises(BadInput, match="signing key"):
        public_key(key)


def test_keys_that_choria_does_not_know_are_ignored_in_entries():
    assert read(unsigned([entry(verify="SHA256SUMS", colour="red")])).plugins[0].name == "echo"


def test_line_breaks_in_the_base64_text_are_fine_as_in_go():
    text = unsigned([entry()])["plugins"]
    assert read({"plugins": f"{text[:20]}\r\n{text[20:]}\n"}).plugins[0].name == "echo"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": ""}, "is no name"),
        ({"name": "../etc"}, "is no name"),
        ({"name": "a/b"}, "is no name"),
        ({"name": ".hidden"}, "is no name"),
        ({"name": "naïve"}, "is no name"),
        ({"name": "tmp"}, "never loaded"),
        ({"name": "x-temp"}, "never loaded"),
        ({"source": ""}, "no http or https"),
        ({"source": "ftp://p.example/e.tgz"}, "no http or https"),
        ({"source": "file:///etc/passwd"}, "no http or https"),
        ({"source": "http:///e.tgz"}, "no http or https"),
        ({"source": "http://[::1"}, "no address"),
        ({"source": "http://p.example:99999/"}, "no address"),
        ({"source": "http://p.example/a b"}, "spaces"),
        ({"checksum": "abc"}, "no SHA-256"),
        ({"verify_checksum": ""}, "no SHA-256"),
        ({"username": "u"}, "no password"),
        ({"password": "a\nb"}, "control"),
        ({"governor": "\u2028"}, "control"),
        ({"match": "x" * 5000}, "at most"),
        ({"name": 5}, "Expected `str`"),
    ],
)
def test_one_bad_entry_fails_the_list_and_the_sentence_says_why(wrong, reason):
    with pytest.raises(BadInput, match=reason):
        read(unsigned([entry(name="fine"), entry(**wrong)]))


@pytest.mark.parametrize("missing", ["name", "source", "checksum", "verify_checksum"])
def test_four_keys_are_mandatory(missing):
    plugins = [{key: value for key, value in entry().items() if key != missing}]
    with pytest.raises(BadInput, match=f"missing required field `{missing}`"):
        read(unsigned(plugins))


def test_a_name_is_taken_once_and_never_when_reserved():
    with pytest.raises(BadInput, match="taken twice"):
        read(unsigned([entry(), entry()]))
    with pytest.raises(BadInput, match="reserved"):
        read(unsigned([entry(name="machines_manager")]), reserved={"machines_manager"})


def test_upper_case_digests_and_templates_are_left_to_the_archive_watcher():
    read(unsigned([entry(checksum="A" * 64, source='{{ lookup "facts.mirror" "https://p.example" }}/e.tgz')]))


def test_passwords_do_not_show():
    assert "hunter2" not in repr(plugin(username="u", password="hunter2"))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{" * 100_000,
        b'{"plugins": 5}',
        '{"plugins": "\ud800"}',
        '{"plugins": "W10=", "serial": "1e3"}',
        '{"plugins": "W10=", "serial": 3}',
        {"plugins": base64.b64encode(b"[" * 100_000).decode()},
        {"plugins": base64.b64encode(b'[{"name": "\\ud800"}]').decode()},
        None,
        7,
        [],
        {1: 2},
        {"plugins": "ü"},
        {"plugins": "W10"},
    ],
)
def test_nonsense_is_bad_input(value):
    with pytest.raises(BadInput):
        read(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        key: json_values | st.sampled_from(["echo", "http://h/x", "a" * 64])
        for key in ("name", "source", "checksum", "verify_checksum", "username", "password", "match", "governor")
    },
)
documents = (
    st.binary(max_size=300)
    | json_values
    | st.lists(entries, max_size=3).map(unsigned)
    | st.fixed_dictionaries(
        {"plugins": st.text(max_size=60)},
        optional={key: st.text(max_size=30) for key in ("signature", "serial", "serial_signature")},
    )
    | st.text(max_size=100)
)


@settings(max_examples=400)
@given(documents, st.sampled_from(["", KEY]))
def test_whatever_arrives_is_read_or_refused(value, key):
    with contextlib.suppress(Refused):
        read(value, key)


@settings(max_examples=300)
@given(st.data())
def test_a_signed_document_with_any_byte_altered_is_refused_or_means_the_same(data):
    raw = bytearray(sign([plugin()], SEED, serial=3))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        specification = read(bytes(raw), KEY)
    except Refused:
        return
    assert specification.plugins == (plugin(),)
    assert specification.serial in {3, None}


def test_a_signer_is_told_what_nodes_would_refuse():
    with pytest.raises(BadInput, match="no SHA-256"):
        sign([plugin(checksum="short")], SEED)
    with pytest.raises(BadInput, match="seed has 5 bytes"):
        sign([], b"short")
    with pytest.raises(BadInput, match="serial -1"):
        sign([], SEED, serial=-1)
