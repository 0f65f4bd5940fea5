"""The lab's artifact server as a process of its own: whole files, the rest of one, and nothing else."""

from __future__ import annotations

import ssl
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from lab.plugins.authority import Authority
from tests.harness.ports import free_port
from tests.harness.processes import open_child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.new(tmp_path / "tls")


@pytest.fixture
async def server(tmp_path: Path, authority: Authority) -> AsyncIterator[str]:
    """Its address; it serves `echo.tgz`, and stands beside a file that it must not serve."""
    served, port = tmp_path / "served", free_port()
    served.mkdir()
    (served / "echo.tgz").write_bytes(b"0123456789")
    (tmp_path / "secret").write_text("secret")
    command = [sys.executable, "-m", "lab.plugins.server", "--root", str(served), "--port", str(port)]
    command += ["--certificate", str(authority.certificate)]
    async with open_child(command, tmp_path / "server.log", {"PYTHONPATH": str(ROOT)}):
        with trio.fail_after(20):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                except OSError:
                    await trio.sleep(0.02)
                else:
                    break
        yield f"https://127.0.0.1:{port}"


async def ask(address: str, authority: Authority | None, **headers: str) -> httpx.Response:
    trust = ssl.create_default_context(cafile=authority.ca_file if authority else None)
    return await trio.to_thread.run_sync(partial(httpx.get, address, verify=trust, headers=headers, trust_env=False))


async def test_a_download_can_go_on_where_it_broke_off(server: str, authority: Authority) -> None:
    whole = await ask(f"{server}/echo.tgz", authority)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    tag = whole.headers["etag"]
    rest = await ask(f"{server}/echo.tgz", authority, **{"Range": "bytes=7-", "If-Range": tag})
    assert (rest.status_code, rest.content, rest.headers["content-range"]) == (206, b"789", "bytes 7-9/10")
    other = await ask(f"{server}/echo.tgz", authority, **{"Range": "bytes=7-", "If-Range": '"older"'})
    assert (other.status_code, other.content) == (200, b"0123456789")
    assert (await ask(f"{server}/echo.tgz", authority, Range="bytes=10-")).status_code == 416


@pytest.mark.parametrize("path", ["/absent.tgz", "/", "/%2e%2e/secret", "//etc/passwd", "/a%00b"])
async def test_what_is_not_there_is_an_error(server: str, authority: Authority, path: str) -> None:
    assert (await ask(f"{server}{path}", authority)).status_code == 404


async def test_only_who_trusts_the_authority_takes_its_word(server: str) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await ask(f"{server}/echo.tgz", None)


def test_an_authority_is_made_once_and_its_key_kept_private(tmp_path: Path) -> None:
    made = Authority.new(tmp_path)
    before = made.certificate.read_bytes()
    assert Authority.new(tmp_path) == made
    assert made.certificate.read_bytes() == before
    assert made.certificate.stat().st_mode & 0o077 == 0
