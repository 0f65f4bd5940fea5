"""A sealed file on its way: what its reader gets, and everything that must not get through."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mra.errors import BadInput, MraError, Refused
from mra.outbox.record import Lane, Row
from mra.sealed.chunks import CHUNK, TAG
from mra.sealed.contents import MAGIC, Part
from mra.sealed.keys import SealingKey, SealingSecret
from mra.sealed.reading import SealedFile, Verified, open_sealed
from mra.sealed.writing import SealedWriter
from mra.tokens.ed25519 import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SECRET = SealingSecret.generate()
SIGNER = SigningKey.generate()
EVENTS = Part(Lane.EVENTS, "a" * 16, first_seq=3, through_seq=200, total_before=2, checkpoint_seq=7)
METRICS = Part(Lane.METRICS, "b" * 16, first_seq=1, through_seq=9, total_before=0, checkpoint_seq=0)


def row(seq: int, body: bytes = b"body", **changes: Any) -> Row:
    fields = {"id": f"id-{seq}", "subject": "a.b", "headers": None, "body": body, "sum": 0, "wall": 1} | changes
    return Row(seq, **fields)


def write(
    path: Path,
    batches: Sequence[tuple[Lane, Sequence[Row]]] = ((Lane.EVENTS, (row(3), row(5))), (Lane.METRICS, (row(1),))),
    *,
    reader: SealingKey = SECRET.public,
    signer: SigningKey | None = SIGNER,
    parts: Sequence[Part] = (EVENTS, METRICS),
    customer: str = "acme",
) -> Path:
    with path.open("wb") as out:
        writer = SealedWriter(out, reader, file="f" * 32, agent="site1", customer=customer, parts=parts, signer=signer)
        for lane, rows in batches:
            writer.write(lane, rows)
        writer.close()
    return path


def read(path: Path, secret: SealingSecret = SECRET) -> tuple[SealedFile, Verified, list[Row]]:
    with open_sealed(path, secret) as file:
        verified = file.verify()
        return file, verified, [one for bundle in file.bundles() for one in bundle.rows]


def test_the_reader_gets_what_the_writer_gave(tmp_path: Path) -> None:
    rows = [row(3, b"\x00\xff", headers="A: b\r\nC: \r\n"), row(5, subject="\u00fc.x", wall=-5)]
    file, verified, found = read(write(tmp_path / "f", [(Lane.EVENTS, rows), (Lane.METRICS, [row(1)])]))
    assert found == [*rows, row(1)]
    assert verified.rows == {Lane.EVENTS: 2, Lane.METRICS: 1}
    assert verified.signer == SIGNER.public
    assert (file.header.agent, file.header.customer, file.part(Lane.EVENTS)) == ("site1", "acme", EVENTS)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_bodies_of_every_size_around_a_chunk_come_through(tmp_path: Path, size: int) -> None:
    batch = [row(3, bytes(size)), row(4)]
    assert read(write(tmp_path / "f", [(Lane.EVENTS, batch)]))[2] == batch


def test_the_contents_cannot_be_seen_from_outside(tmp_path: Path) -> None:
    raw = write(tmp_path / "f", [(Lane.EVENTS, [row(3, b"a secret", subject="told.nobody")])]).read_bytes()
    assert b"secret" not in raw
    assert b"told" not in raw


def test_two_files_of_the_same_rows_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1").read_bytes(), write(tmp_path / "2").read_bytes()
    assert one[-64:] != other[-64:]


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    """Each byte of the header and of the first and last chunk, one bit of it; and a sample of the others."""
    big = [row(seq, random.Random(seq).randbytes(3000)) for seq in range(3, 80)]
    path = write(tmp_path / "f", [(Lane.EVENTS, big)])
    raw = path.read_bytes()
    ends = [*range(1200), *range(len(raw) - 400, len(raw))]
    middle = random.Random(1).sample(range(1200, len(raw) - 400), 150)
    for place in ends + middle:
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises((Refused, BadInput)):
            read(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f", [(Lane.EVENTS, [row(seq, bytes(3000)) for seq in range(3, 80)])])
    raw = path.read_bytes()
    start = len(raw) % (CHUNK + TAG)
    for length in {0, 1, 7, 11, 12, 40, start, len(raw) - CHUNK - TAG, len(raw) - TAG, len(raw) - 1, len(raw) // 2}:
        path.write_bytes(raw[:length])
        with pytest.raises((Refused, BadInput)):
            read(path)


def edited(raw: bytes, edit: Callable[[list[bytes]], list[bytes]]) -> bytes:
    start = 12 + int.from_bytes(raw[8:12], "big")
    body = raw[start:]
    chunks = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)]
    return raw[:start] + b"".join(edit(chunks))


@pytest.mark.parametrize(
    "edit",
    [
        lambda chunks: chunks[:-1],
        lambda chunks: chunks[1:],
        lambda chunks: [chunks[0], *chunks],
        lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        lambda chunks: [*chunks, chunks[-1]],
        lambda chunks: [*chunks, b"x"],
        lambda chunks: [chunks[0], *chunks[2:]],
        lambda chunks: [],
    ],
)
def test_chunks_that_are_missing_repeated_or_moved_are_refused(tmp_path: Path, edit: Any) -> None:
    path = write(tmp_path / "f", [(Lane.EVENTS, [row(seq, bytes(3000)) for seq in range(3, 80)])])
    path.write_bytes(edited(path.read_bytes(), edit))
    with pytest.raises(Refused):
        read(path)


def test_a_chunk_of_another_file_is_refused(tmp_path: Path) -> None:
    batches = [(Lane.EVENTS, [row(seq, bytes(3000)) for seq in range(3, 80)])]
    other = write(tmp_path / "other", batches).read_bytes()
    path = write(tmp_path / "f", batches)
    foreign: list[bytes] = []
    edited(other, lambda chunks: foreign.extend(chunks) or chunks)
    path.write_bytes(edited(path.read_bytes(), lambda chunks: [chunks[0], foreign[1], *chunks[2:]]))
    with pytest.raises(Refused, match="chunk 2 does not verify"):
        read(path)


@given(raw=st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: MAGIC + b"\x01" + tail))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_one_sentence(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "wild"
    path.write_bytes(raw)
    with pytest.raises(MraError) as error:
        read(path)
    assert "\n" not in error.value.sentence


def test_a_file_that_is_exchanged_after_it_was_verified_gives_no_row(tmp_path: Path) -> None:
    path, other = write(tmp_path / "f"), write(tmp_path / "other", [(Lane.EVENTS, [row(3, b"another")])])
    with open_sealed(path, SECRET) as file:
        file.verify()
        path.write_bytes(other.read_bytes())
        with pytest.raises(Refused):
            next(file.bundles())


def test_another_key_and_another_format_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f")
    with pytest.raises(Refused, match="sealed to another key"):
        read(path, SealingSecret.generate())
    newer = bytearray(path.read_bytes())
    newer[7] = 2
    path.write_bytes(newer)
    with pytest.raises(Refused, match="newer mra"):
        read(path)
    path.write_bytes(b"SQLite format 3\x00")
    with pytest.raises(BadInput, match="no sealed file"):
        read(path)


def test_an_unsigned_file_names_no_signer_and_a_forged_signature_is_refused(tmp_path: Path) -> None:
    assert read(write(tmp_path / "f", signer=None))[1].signer is None

    class Forger(SigningKey):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b"!")

    with pytest.raises(Refused, match="signature"):
        read(write(tmp_path / "f", signer=Forger(bytes(32))))


@pytest.mark.parametrize(
    "batches",
    [
        [(Lane.EVENTS, [row(2)])],  # before the header's range
        [(Lane.EVENTS, [row(201)])],  # behind it
        [(Lane.EVENTS, [row(5), row(4)])],
        [(Lane.EVENTS, [row(5)]), (Lane.EVENTS, [row(5)])],
        [(Lane.METRICS, [row(1)]), (Lane.EVENTS, [row(3)])],  # lanes in another order
    ],
)
def test_rows_out_of_order_are_refused_whoever_wrote_them(tmp_path: Path, batches: Any) -> None:
    with pytest.raises(Refused, match="out of order"):
        read(write(tmp_path / "f", batches))


@pytest.mark.parametrize(
    "wicked",
    [
        row(3, subject="a b"),
        row(3, subject="a\r\nPUB x 0\r\n"),
        row(3, subject="checkpoint.site2-events"),
        row(3, subject=">"),
        row(3, headers="Nats-Rollup: all\r\n"),
        row(3, headers="nats-expected-last-sequence: 0\r\n"),
        row(3, headers="A: b\r\n\r\nPUB x 0\r\n"),
        row(3, headers="A: b"),
        row(3, headers="A: b\r\nMra-Origin: n2-events e1 5 4\r\n"),
        row(3, headers="Mra-Origin: n2-events e1 5 4 6\r\n"),
        row(3, headers="Mra-Origin: n2-events e1 5 4\r\nMra-Origin: n3-events e1 5 4\r\n"),
        row(3, headers="\r\n"),
        row(3, headers=""),
        row(3, headers="A: b\nC: d\r\n"),
        row(3, id="x\r\ny: z"),
        row(3, wall=2**63),
    ],
)
def test_rows_that_no_site_could_have_accepted_are_refused(tmp_path: Path, wicked: Row) -> None:
    with pytest.raises(Refused, match=r"no site could have accepted|makes no sense"):
        read(write(tmp_path / "f", [(Lane.EVENTS, [wicked])]))


def test_a_leader_may_say_from_which_follower_a_row_is(tmp_path: Path) -> None:
    rows = [row(3, headers="Mra-Origin: n2-events e1 5 4\r\n"), row(4, headers="Mra-Origin: n2-x e1 6 5\r\nA: b\r\n")]
    assert read(write(tmp_path / "f", [(Lane.EVENTS, rows)]))[2] == rows


@pytest.mark.parametrize("customer", ["a.b", "*", ">", "x" * 65])
def test_a_customer_that_cannot_be_one_is_refused(tmp_path: Path, customer: str) -> None:
    with pytest.raises(Refused):
        read(write(tmp_path / "f", customer=customer))


def test_a_key_comes_through_its_text_and_a_mistyped_one_does_not() -> None:
    assert SealingKey.parse(f" {SECRET.public}\n") == SECRET.public
    assert SealingSecret.parse(SECRET.text).public == SECRET.public
    text = str(SECRET.public)
    wrong = text.replace(text[20], "0" if text[20] != "0" else "1", 1)
    for bad in (wrong, text[:-1], text + "0", SECRET.text, "", text.upper()):
        with pytest.raises(BadInput):
            SealingKey.parse(bad)
    with pytest.raises(BadInput) as error:
        SealingSecret.parse(SECRET.text[:-1])
    assert SECRET.text[20:60] not in error.value.sentence
    assert SECRET.text[20:60] not in repr(SECRET)


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as out:
        writer = SealedWriter(
            out, SECRET.public, file="f" * 32, agent="site1", customer="", parts=[EVENTS], signer=None
        )
        writer._write(msgspec.msgpack.encode({"what": "ever"}))
        writer.close()
    with pytest.raises(Refused, match="makes no sense"):
        read(path)
