"""A mistake in the configuration is one sentence: which file, which key, what to write instead."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mra.errors import BadInput
from mra.settings import read_settings
from mra.settings.reading import LONGEST_FILE

LEAST = '[agent]\nname = "site1"\nstate = "state"\n[saas]\nurls = ["nats://127.0.0.1:4222"]\n'
ENDLESS = "9" * 5000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(LEAST)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(BadInput) as refused:
        read_settings(file)
    sentence = refused.value.sentence
    assert str(file) in sentence
    assert sentence.isprintable(), "one line, and nothing that a terminal obeys"
    assert sentence.endswith((".", "--config."))
    assert len(sentence) < 400 + 2 * len(str(file))
    return sentence.replace(str(file), "FILE")


def test_the_least_that_has_to_be_said_is_enough(file: Path) -> None:
    settings = read_settings(file)
    assert settings.database == file.parent / "state" / "outbox.db"
    assert (settings.access.urls, settings.access.password) == (("nats://127.0.0.1:4222",), None)


def test_a_short_cap_is_the_first_pause_too(file: Path) -> None:
    file.write_text(file.read_text() + '\n[uplink]\nretry_cap = "2s"\n')
    assert read_settings(file).uplink.retry_first == 2


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("[outbox]\nreplay_window = nan", "outbox.replay_window is nan: write a duration"),
        ("[outbox]\nreplay_window = inf", "outbox.replay_window is inf: write a duration"),
        ("[outbox]\nreplay_window = 1e999", "outbox.replay_window is inf"),
        ("[outbox]\nreplay_window = -1", "outbox.replay_window is -1"),
        ('[outbox]\nreplay_window = "9m"', "outbox.replay_window is '9m': keep delivered rows for 10m or longer"),
        ("[outbox]\nreplay_window = 1979-05-27", "Expected `int | float | str`, got `date` in [outbox.replay_window]"),
        (f'[outbox]\nreplay_window = "{ENDLESS}w"', "outbox.replay_window is '99"),
        ("[lanes.events]\nmax_age = -1.5", "lanes.events.max_age is -1.5"),
        ('[lanes.events]\nmax_age = "200000w"', "lanes.events.max_age is '200000w': write a duration"),
        ("[uplink]\nretry_first = 0", "uplink.retry_first is 0: use 1ms or more"),
        ("[uplink]\nretry_first = 2\nretry_cap = 1", "uplink.retry_cap is 1: make it no shorter than uplink.retry"),
        ('[uplink]\npatience = "0s"', "uplink.patience is '0s': use 1ms or more"),
        ("[facts]\nrefresh = nan", "facts.refresh is nan"),
        ("[outbox]\nmin_free = -1", "outbox.min_free is -1: write a size"),
        ('[outbox]\nmin_free = "-1MiB"', "outbox.min_free is '-1MiB'"),
        ('[outbox]\nmax_bytes = "9999999TiB"', "outbox.max_bytes is '9999999TiB'"),
        ('[outbox]\nmax_bytes = "1٣MiB"', "outbox.max_bytes is '1٣MiB'"),
        (f"[outbox]\nmax_bytes = {ENDLESS}", "holds a number with thousands of digits"),
        ("[outbox]\nmax_bytes = 0x" + "f" * 50_000, "outbox.max_bytes is a number without end"),
        ("[uplink]\npatience = 0x" + "f" * 50_000, "uplink.patience is a number without end"),
        (f'[outbox]\nmax_bytes = "{ENDLESS}"', "outbox.max_bytes is '99"),
        ("[outbox]\nmax_bytes = true", "Expected `int | str`, got `bool` in [outbox.max_bytes]"),
        ("[lanes.events]\nweight = 1.5", "Expected `int`, got `float` in [lanes"),
        ("[lanes.events]\nweight = 0", "lanes.events.weight is 0: use 1 to 100"),
        ('[lanes."\\u001b[31m"]\nweight = 1', r"there is no lane '\x1b[31m': use submissions, events"),
        ("[[lanes]]\n", "Expected `table`, got `array` in [lanes]"),
        ("[outbox]\nmax_byte = 1", "unknown key 'max_byte' in [outbox]"),
        ('"two\\nlines" = 1', "unknown key 'two"),
        ('[machines]\ndirectory = "~nosuchuser/x"', "machines.directory is '~nosuchuser/x': there is no such user"),
        ('[machines]\ntext_files = "a\\u0000b"', r"machines.text_files is 'a\x00b': write a path"),
        ('[submit]\nsocket = "a\\u0000b"', r"submit.socket is 'a\x00b'"),
        ('[machines]\nextra_ca = ""', "machines.extra_ca is '': write a path"),
        (f'[machines]\nsigning_key = "{ENDLESS}"', "machines.signing_key is '99"),
        ("deep = " + "[" * 5000, "nested too deeply"),
        ("deep = " + "{a = " * 5000, "nested too deeply"),
        ("a." * 20_000 + "a = 1", "line 6 has more than 256 dots"),
        ("[outbox\n", "is not valid TOML"),
        ("# " + "x" * LONGEST_FILE, "is not a configuration: it has more than"),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_a_mistake_is_refused_by_name(file: Path, lines: str, complaint: str) -> None:
    # [saas] is the last table of LEAST: a bare key has to come before it
    file.write_text(LEAST + lines if lines.startswith(("[", "#", "a.")) else f"{lines}\n{LEAST}")
    assert complaint in refusal(file)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"state"', '"~nosuchuser"', "agent.state is '~nosuchuser': there is no such user here"),
        ('"state"', r'"a\u0000b"', r"agent.state is 'a\x00b'"),
        ('"site1"', '"site 1"', "agent.name is 'site 1'"),
        ('"site1"', '"site1\\n"', r"agent.name is 'site1\n'"),
        ('["nats://127.0.0.1:4222"]', '[]\ncustomer = "acme"', "saas.urls is []"),
        (LEAST, "agent = 1", "Expected `table`, got `int` in [agent]"),
        ("nats://127.0.0.1:4222", "http://127.0.0.1", "saas.urls is 'http://127.0.0.1': start it with"),
        ("127.0.0.1:4222", "", "saas.urls is 'nats://': write a host and a port"),
        ("4222", "66000", "saas.urls is 'nats://127.0.0.1:66000': write a host and a port"),
        ("4222", "port", "write a host and a port"),
        ("127.0.0.1", "[::1", "write a host and a port"),
        ("127.0.0.1", r"a\u000ab", "write a host and a port"),
    ],
)
def test_a_mistake_in_what_has_to_be_there_is_refused_by_name(file: Path, old: str, new: str, complaint: str) -> None:
    assert old in LEAST
    file.write_text(LEAST.replace(old, new))
    assert complaint in refusal(file)


@pytest.mark.parametrize(
    ("raw", "complaint"), [(b"\xff", "is not UTF-8"), (b"\0", "not valid TOML"), (b"\xed\xa0\x80", "is not UTF-8")]
)
def test_bytes_that_are_no_text_are_refused(file: Path, raw: bytes, complaint: str) -> None:
    file.write_bytes(LEAST.encode() + raw)
    assert complaint in refusal(file)


def test_what_is_no_file_is_refused(file: Path) -> None:
    file.unlink()
    assert "there is none" in refusal(file)
    file.mkdir()
    assert "Is a directory" in refusal(file)


def test_a_device_without_end_is_not_read_to_its_end() -> None:
    assert "has more than" in refusal(Path("/dev/zero"))


def test_a_configuration_may_come_through_a_pipe(file: Path) -> None:
    """As `--config <(render)` of a shell hands it over."""
    file.unlink()
    os.mkfifo(file)
    writer = threading.Thread(target=file.write_text, args=(LEAST,))
    writer.start()
    assert read_settings(file).name == "site1"
    writer.join()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda secret: None, "No such file"),
        (lambda secret: secret.mkdir(), "Is a directory"),
        (lambda secret: secret.write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda secret: secret.write_text(" \n"), "must hold the password"),
        (lambda secret: secret.symlink_to("/dev/zero"), "must hold the password"),
    ],
)
def test_a_password_that_cannot_be_had_is_named(file: Path, make, complaint: str) -> None:
    make(file.parent / "secret")
    file.write_text(LEAST + 'user = "acme"\npassword_file = "secret"\n')
    sentence = refusal(file)
    assert "saas.password_file is 'secret'" in sentence
    assert complaint in sentence
    assert read_settings(file, secrets=False).access.password is None


def test_a_password_is_read_without_its_line_end(file: Path) -> None:
    (file.parent / "secret").write_text("hunter 2\r\n")
    file.write_text(LEAST + 'user = "acme"\npassword_file = "secret"\n')
    access = read_settings(file).access
    assert (access.user, access.password) == ("acme", "hunter 2")


@pytest.mark.parametrize("key", ["user", "password_file"])
def test_a_user_and_a_password_go_together(file: Path, key: str) -> None:
    file.write_text(LEAST + f'{key} = "x"\n')
    assert "go together" in refusal(file)


@pytest.mark.parametrize("make", [lambda ca: ca.mkdir(), lambda ca: ca.write_bytes(b"\xff" * 1000), lambda ca: None])
def test_authorities_that_are_none_are_named(file: Path, make) -> None:
    make(file.parent / "ca.pem")
    file.write_text(LEAST + 'tls_ca = "ca.pem"\n')
    assert "saas.tls_ca is '" in refusal(file)
