from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput
from mra.machines.archives.extract import extract
from mra.machines.archives.limits import Limits
from tests.machines.archives.samples import file, header, raw_tgz, snapshot, tgz


@pytest.fixture
def unpack(tmp_path):
    """Unpack bytes into `tmp_path/out`; whatever fails must leave nothing behind."""

    def run(packed, **limits):
        (tmp_path / "a.tgz").write_bytes(packed)
        try:
            extract(tmp_path / "a.tgz", tmp_path / "out", limits=Limits(**limits))
        except BaseException:
            assert os.listdir(tmp_path) == ["a.tgz"]
            raise
        return snapshot(tmp_path / "out")

    return run


def test_files_and_directories_come_out(unpack):
    assert unpack(tgz(header("echo/"), file("echo/a", b"1" * 5000), header("echo/sub"), file("echo/sub/b", b""))) == {
        "echo": None,
        "echo/a": b"1" * 5000,
        "echo/sub": None,
        "echo/sub/b": b"",
    }


def test_a_leading_dot_and_forgotten_directories_are_fine(unpack):
    assert unpack(tgz(header("./"), file("./echo/deep/a"))) == {"echo": None, "echo/deep": None, "echo/deep/a": b"x"}


@pytest.mark.parametrize("fmt", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_are_read_in_every_format(unpack, fmt):
    name = "/".join(["d" * 60] * 2) + "/" + "n" * 60
    assert unpack(tgz(file(name), fmt=fmt))[name] == b"x"


def test_names_beyond_ascii_are_read(unpack):
    assert unpack(tgz(file("echo/grüße"), fmt=tarfile.PAX_FORMAT)) == {"echo": None, "echo/grüße": b"x"}


def test_special_mode_bits_and_write_permission_for_others_are_taken_away(unpack, tmp_path):
    old = os.umask(0)
    try:
        unpack(tgz(header("d", mode=0o7777), file("d/s", mode=0o6777), file("d/r", mode=0o444), file("d/n", mode=0)))
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "out").rglob("*")}
    assert modes == {"d": 0o755, "s": 0o755, "r": 0o644, "n": 0o600}


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (header("l", b"", kind=tarfile.SYMTYPE, link="/etc"), "a symbolic link"),
        (header("l", b"", kind=tarfile.LNKTYPE, link="a"), "a hard link"),
        (header("d", b"", kind=tarfile.CHRTYPE), "a character device"),
        (header("d", b"", kind=tarfile.BLKTYPE), "a block device"),
        (header("p", b"", kind=tarfile.FIFOTYPE), "a named pipe"),
        (header("c", b"", kind=tarfile.CONTTYPE), "unknown type"),
        (header("x", b"", kind=b"Z"), "unknown type"),
        (file("/etc/passwd"), "absolute"),
        (file("../up"), "leads out"),
        (file("a/../../up"), "leads out"),
        (header(".."), "leads out"),
        (file("a\\b"), "backslash"),
        (file("a\nb"), "control"),
        (file("a/" * 40 + "b"), "directories deep"),
        (file("n" * 256), "more than 255 bytes"),
    ],
)
def test_what_could_reach_elsewhere_is_refused(unpack, member, reason):
    with pytest.raises(BadInput, match=reason):
        unpack(tgz(header("echo"), file("echo/fine"), member))


@pytest.mark.parametrize(
    "members",
    [
        (file("a"), file("a")),
        (file("a"), file("./a")),
        (header("a"), header("a/")),
        (file("a"), header("a")),
        (header("a"), file("a")),
        (file("a"), file("a/b")),
    ],
)
def test_no_member_takes_the_place_of_another(unpack, members):
    with pytest.raises(BadInput, match="pack it again"):
        unpack(tgz(*members))


def test_global_headers_are_refused_as_choria_does(unpack):
    with pytest.raises(BadInput, match="global header"):
        unpack(tgz(file("a"), fmt=tarfile.PAX_FORMAT, pax={"comment": "x"}))


def test_counts_and_bytes_are_bounded(unpack):
    with pytest.raises(BadInput, match="more than 3 members"):
        unpack(tgz(*(file(f"f{number}") for number in range(4))), members=3)
    with pytest.raises(BadInput, match="unpacks to more than"):
        unpack(tgz(file("a", os.urandom(50_000))), total_bytes=40_000)


def test_a_bomb_is_noticed_by_its_ratio(unpack):
    bomb = tgz(file("zeros", bytes(8 * 1024 * 1024)))
    with pytest.raises(BadInput, match="too many for its size"):
        unpack(bomb, ratio_free_bytes=1024 * 1024)


def test_a_header_that_announces_gigabytes_costs_nothing(unpack):
    info = header("@LongLink", kind=tarfile.GNUTYPE_LONGNAME)
    info.size = 10**12
    with pytest.raises(BadInput, match="extended header of 1000000000000 bytes"):
        unpack(raw_tgz(info.tobuf(tarfile.GNU_FORMAT)))


def test_a_file_that_announces_more_than_it_has_is_refused(unpack):
    info = header("a", b"")
    info.size = 5000
    with pytest.raises(BadInput, match="ends in the middle"):
        unpack(raw_tgz(info.tobuf(tarfile.GNU_FORMAT) + b"short"))


@pytest.mark.parametrize("records", [b"x", b"9 path=a\n", b"99999 path=a\n", b"11 size=-5\n", b"20 GNU.sparse.map=1\n"])
def test_damaged_extended_headers_are_refused(unpack, records):
    info = header("pax", records, kind=tarfile.XHDTYPE)
    packed = info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
    with pytest.raises(BadInput):
        unpack(raw_tgz(packed * 5))


@pytest.mark.parametrize(
    "packed", [b"", b"no archive", b"<html>404</html>", gzip.compress(b"x" * 512), gzip.compress(b"y")]
)
def test_what_is_no_archive_is_bad_input(unpack, packed):
    if not packed:
        assert unpack(packed) == {}  # as an empty gzip stream: nothing is in it, and the missing directory tells
        return
    with pytest.raises(BadInput):
        unpack(packed)


@pytest.mark.parametrize("cut", [50, 100])
def test_a_truncated_archive_is_refused(unpack, cut):
    with pytest.raises(BadInput):
        unpack(tgz(file("a", os.urandom(3000)))[:-cut])


def test_giving_up_halfway_removes_what_is_there(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tgz(*(file(f"f{number}") for number in range(10))))
    calls = 0

    def checkpoint():
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "a.tgz", tmp_path / "out", checkpoint=checkpoint)
    assert os.listdir(tmp_path) == ["a.tgz"]


names = st.sampled_from(
    ["a", "a/b", "../x", "/x", "a/", ".", "..", "a//b", "ü", "\udcff", "b" * 300, "c/d/e", "x\x00y", ""]
)
kinds = st.sampled_from(
    [
        *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE),
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, b"7", b"\xff"),
    ]
)
members = st.builds(
    lambda name, content, kind, mode: (header(name, content, kind=kind, mode=mode, link="../.."), content),
    names,
    st.binary(max_size=60),
    kinds,
    st.integers(0, 0o7777),
)


@settings(max_examples=300)
@given(
    st.lists(members, max_size=4),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=3),
)
def test_whatever_an_archive_holds_stays_below_its_directory(tmp_path_factory, story, fmt, damage):
    blocks = io.BytesIO()
    for info, content in story:
        try:
            blocks.write(info.tobuf(fmt, "utf-8", "surrogateescape"))
        except ValueError:
            continue
        blocks.write(content.ljust(-(-len(content) // 512) * 512, b"\0"))
    raw = bytearray(blocks.getvalue())
    for place, value in damage:
        if place < len(raw):
            raw[place] = value
    directory = tmp_path_factory.mktemp("fuzz")
    (directory / "a.tgz").write_bytes(raw_tgz(bytes(raw)))
    try:
        extract(directory / "a.tgz", directory / "out")
    except BadInput:
        assert os.listdir(directory) == ["a.tgz"]
    else:
        assert sorted(os.listdir(directory)) == ["a.tgz", "out"]
        assert not any(path.is_symlink() for path in (directory / "out").rglob("*"))


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_random_bytes_are_an_archive_or_bad_input(tmp_path_factory, raw):
    directory = tmp_path_factory.mktemp("fuzz")
    (directory / "a.tgz").write_bytes(raw)
    try:
        extract(directory / "a.tgz", directory / "out")
    except BadInput:
        assert not (directory / "out").exists()
