"""A node's files: whole or absent, for its owner only, and one of them decides."""

from __future__ import annotations

import stat

import pytest

from mra.enrol import enrolment as files
from mra.enrol.enrolment import Enrolment, Standing, judge, keep_enrolment, load_enrolment, request_id, write_copies
from mra.enrol.keys import load_keys, load_or_make_keys, replace_identity_key
from mra.enrol.shapes import Grant
from mra.errors import Unavailable

DAY = 86400


def enrolment(keys, issued=0, expires=100 * DAY) -> Enrolment:
    grant = Grant("acme", "A", "n1", "n1", "tools", "server.jwt", "nats.jwt", ("nats://s:1",), {}, issued, expires)
    return Enrolment(grant, keys.identity.public, keys.user.public, ("nats://p:1",), "ab" * 32, "0" * 32)


def test_keys_are_made_once_and_readable_by_their_owner_alone(tmp_path):
    directory = tmp_path / "state" / "identity"
    made = load_or_make_keys(directory)
    assert load_or_make_keys(directory).identity.public == made.identity.public
    again = load_keys(directory)
    assert again is not None
    assert again.user.public == made.user.public
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_files_hold_what_the_tools_of_choria_and_nats_read(tmp_path):
    load_or_make_keys(tmp_path)
    assert len((tmp_path / "server.seed").read_bytes()) == 64  # no newline: one breaks Choria's parser
    assert (tmp_path / "nats.nkey").read_text().startswith("SU")


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"SUnonsense", b"\xff\xfe", b"0" * 63])
@pytest.mark.parametrize("name", ["server.seed", "nats.nkey"])
def test_a_file_that_holds_no_key_is_put_aside_and_made_anew(tmp_path, name, content):
    before = load_or_make_keys(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert load_keys(tmp_path) is None
    after = load_or_make_keys(tmp_path)
    assert (tmp_path / f"{name}.damaged").read_bytes() == content
    assert (after.identity.public == before.identity.public) != (after.user.public == before.user.public)


def test_keys_do_not_show_when_they_are_printed(tmp_path):
    keys = load_or_make_keys(tmp_path)
    for secret in (keys.identity.seed, keys.user.seed):
        assert secret not in repr(keys)


def test_a_replaced_identity_key_stands_beside_the_one_before_until_the_saas_knows(tmp_path):
    first = load_or_make_keys(tmp_path)
    second = replace_identity_key(tmp_path)
    third = replace_identity_key(tmp_path)
    assert len({first.identity.public, second.identity.public, third.identity.public}) == 3
    assert third.previous is not None
    assert third.previous.public == first.identity.public
    assert third.user.public == first.user.public


@pytest.mark.parametrize(
    ("now", "standing"),
    [
        (0, Standing.VALID),
        (59 * DAY, Standing.VALID),
        (60 * DAY, Standing.DUE),
        (100 * DAY, Standing.EXPIRED),
        (-10 * DAY, Standing.VALID),
    ],
)
def test_an_enrolment_is_renewed_long_before_it_ends(tmp_path, now, standing):
    keys = load_or_make_keys(tmp_path)
    assert judge(enrolment(keys), keys, now) is standing


def test_an_enrolment_for_other_keys_does_not_count(tmp_path):
    kept = enrolment(load_or_make_keys(tmp_path))
    (tmp_path / "nats.nkey").unlink()
    assert judge(kept, load_keys(tmp_path), 0) is Standing.MISMATCHED
    assert judge(kept, load_or_make_keys(tmp_path), 0) is Standing.MISMATCHED
    assert judge(None, None, 0) is Standing.MISSING


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"grant": 1}', b"\xff", b"[" * 10_000])
def test_an_enrolment_that_cannot_be_understood_counts_as_none(tmp_path, content):
    (tmp_path / files.FILE).write_bytes(content)
    assert load_enrolment(tmp_path) is None


def test_a_request_keeps_its_id_until_its_answer_is_kept(tmp_path):
    keys = load_or_make_keys(tmp_path)
    first = request_id(tmp_path)
    assert request_id(tmp_path) == first
    keep_enrolment(tmp_path, enrolment(keys))
    assert request_id(tmp_path) != first
    assert load_enrolment(tmp_path) == enrolment(keys)


def test_copies_for_other_programs_are_brought_up_to_date(tmp_path):
    keys = load_or_make_keys(tmp_path)
    write_copies(tmp_path, enrolment(keys))
    (tmp_path / "server.jwt").write_text("an older one")
    (tmp_path / "nats.creds").unlink()
    write_copies(tmp_path, enrolment(keys))
    assert (tmp_path / "server.jwt").read_text() == "server.jwt"
    assert "\nnats.jwt\n" in (tmp_path / "nats.creds").read_text()
    assert keys.user.seed in (tmp_path / "nats.creds").read_text()
    assert stat.S_IMODE((tmp_path / "nats.creds").stat().st_mode) == 0o600


def test_a_place_where_nothing_can_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="Cannot make"):
        load_or_make_keys(tmp_path / "file" / "identity")
