"""The containers' Apache configuration, where an Apache is installed: what the agent's downloads need of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from lab.plugins.authority import Authority
from mra.errors import Refused
from mra.machines.archives.download import download
from mra.machines.archives.partial import Origin, Partial
from mra.machines.archives.source import Source
from tests.harness.ports import free_port
from tests.harness.processes import open_child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONFIGURATION = Path(__file__).parents[2] / "lab" / "plugins" / "httpd.conf"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
APACHE = shutil.which("httpd", path=PATH) or shutil.which("apache2", path=PATH)
CONTENT = bytes(range(256)) * 64
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()

pytestmark = pytest.mark.skipif(APACHE is None, reason="no Apache httpd is installed here")


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    authority, port = Authority.new(tmp_path / "tls"), free_port()
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "echo.tgz").write_bytes(CONTENT)
    os.utime(tmp_path / "www" / "echo.tgz", (10**9, 10**9))  # Apache vouches for no byte of a file of this very second
    assert APACHE is not None
    root = ["-d", "/usr/lib/apache2"] if APACHE.endswith("apache2") else []  # where Debian keeps the modules
    environment = {
        "MRA_ARTIFACTS_ADDRESS": "127.0.0.1",
        "MRA_ARTIFACTS_PORT": str(port),
        "MRA_ARTIFACTS_ROOT": str(tmp_path / "www"),
        "MRA_ARTIFACTS_TLS": str(tmp_path / "tls"),
        "MRA_ARTIFACTS_RUN": str(tmp_path),
    }
    command = [APACHE, *root, "-D", "FOREGROUND", "-f", str(CONFIGURATION)]
    async with open_child(command, tmp_path / "httpd.log", environment) as child:
        with trio.fail_after(20):
            while child.returncode is None:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                except OSError:
                    await trio.sleep(0.02)
                else:
                    break
        assert child.returncode is None, (tmp_path / "httpd.log").read_text()
        yield Source(f"https://127.0.0.1:{port}/echo.tgz", ca_file=authority.ca_file)


async def test_an_archive_arrives_whole_and_what_is_absent_is_refused(source: Source, tmp_path: Path) -> None:
    await download(source, tmp_path / "echo.tgz", checksum=CHECKSUM)
    assert (tmp_path / "echo.tgz").read_bytes() == CONTENT
    absent = Source(source.url.replace("echo", "absent"), ca_file=source.ca_file)
    with pytest.raises(Refused, match="HTTP status 404"):
        await download(absent, tmp_path / "absent.tgz", checksum=CHECKSUM)


async def test_a_download_that_broke_off_goes_on(source: Source, tmp_path: Path) -> None:
    partial = Partial(tmp_path / "echo.tgz")
    await download(source, partial.file, checksum=CHECKSUM)
    validator = partial.resume(source.url, CHECKSUM)[1]
    assert validator.startswith('"')
    partial.begin(Origin(source.url, CHECKSUM, validator))
    partial.file.write_bytes(CONTENT[:1000])
    await download(source, partial.file, checksum=CHECKSUM)
    assert partial.file.read_bytes() == CONTENT
    assert " 206 " in (tmp_path / "httpd.log").read_text()
