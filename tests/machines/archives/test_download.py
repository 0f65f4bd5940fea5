from __future__ import annotations

import hashlib
import os
import socket
import threading
import time

import pytest
import trio
import trio.testing

from mra.errors import BadInput, Refused, Unavailable
from mra.machines.archives.download import Patience, download
from mra.machines.archives.source import Source
from tests.machines.archives.server import ArtifactServer

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
AT_ONCE = Patience(pauses=(0, 0))
ONCE = Patience(pauses=())


@pytest.fixture
def fetch(artifacts, tmp_path):
    """Download the file of the server, and return what arrived."""
    artifacts.files["/echo.tgz"] = CONTENT

    async def run(source=None, checksum=DIGEST, patience=AT_ONCE, **others):
        file = tmp_path / "echo.tgz"
        await download(source or artifacts.source(), file, checksum=checksum, patience=patience, **others)
        return file.read_bytes()

    return run


def cut_at(artifacts, *sizes):
    """Let the first answers break off after so many bytes."""
    left = list(sizes)

    def mischief(handler):
        if not left:
            return False
        size = left.pop(0)
        begin = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        if begin:
            where = {"Content-Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"}
            handler.answer(206, CONTENT[begin:], send=size, ETag='"v1"', **where)
        else:
            handler.answer(200, CONTENT, send=size, ETag='"v1"')
        return True

    artifacts.mischief = mischief


async def test_a_file_arrives_over_tls(fetch, artifacts):
    assert await fetch() == CONTENT
    assert artifacts.requests[0][1]["User-Agent"].startswith("Choria Archive Watcher")


async def test_an_upper_case_checksum_will_do(fetch):
    assert await fetch(checksum=DIGEST.upper()) == CONTENT


@pytest.mark.parametrize("status", [404, 410, 403, 204, 304])
async def test_a_status_that_will_not_change_is_refused(fetch, artifacts, tmp_path, status):
    artifacts.mischief = lambda handler: handler.answer(status, b"") or True
    with pytest.raises(Refused, match=f"HTTP status {status}"):
        await fetch()
    assert len(artifacts.requests) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_busy_server_is_asked_again(fetch, artifacts, status):
    answers = [status, status]
    artifacts.mischief = lambda handler: bool(answers) and (handler.answer(answers.pop(), b"") or True)
    assert await fetch() == CONTENT
    assert len(artifacts.requests) == 3


async def test_a_cut_connection_is_resumed_where_it_broke(fetch, artifacts):
    cut_at(artifacts, 100_000, 50_000)
    assert await fetch() == CONTENT
    assert artifacts.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert artifacts.requests[1][1]["If-Range"] == '"v1"'


async def test_what_was_received_before_a_kill_is_used_after_it(fetch, artifacts):
    cut_at(artifacts, 200_000)
    with pytest.raises(Unavailable, match="broke off"):
        await fetch(patience=ONCE)
    assert await fetch() == CONTENT
    assert artifacts.ranges[1] is not None


async def test_a_complete_file_is_not_fetched_again(fetch, artifacts):
    await fetch()
    await fetch()
    assert len(artifacts.requests) == 1


async def test_a_file_that_changed_meanwhile_is_fetched_anew(fetch, artifacts):
    cut_at(artifacts, 100_000)
    with pytest.raises(Unavailable):
        await fetch(patience=ONCE)
    artifacts.files["/echo.tgz"], artifacts.tags["/echo.tgz"] = CONTENT[::-1], '"v2"'
    assert await fetch(checksum=hashlib.sha256(CONTENT[::-1]).hexdigest()) == CONTENT[::-1]


async def test_a_beginning_that_turns_out_wrong_costs_one_more_attempt(fetch, artifacts, tmp_path):
    cut_at(artifacts, 100_000)
    with pytest.raises(Unavailable):
        await fetch(patience=ONCE)
    with (tmp_path / "echo.tgz").open("r+b") as file:
        file.write(b"damaged by a power cut")
    assert await fetch() == CONTENT
    assert artifacts.ranges[1:] == [artifacts.ranges[1], None]


async def test_more_bytes_than_there_can_be_are_dropped(fetch, artifacts, tmp_path):
    cut_at(artifacts, 100_000)
    with pytest.raises(Unavailable):
        await fetch(patience=ONCE)
    with (tmp_path / "echo.tgz").open("ab") as file:
        file.write(bytes(len(CONTENT)))
    assert await fetch() == CONTENT


async def test_another_part_than_was_asked_for_is_not_taken(fetch, artifacts):
    cut_at(artifacts, 100_000)
    with pytest.raises(Unavailable):
        await fetch(patience=ONCE)
    wrong = [1]
    where = {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    artifacts.mischief = lambda handler: bool(wrong) and (handler.answer(206, CONTENT[wrong.pop() :], **where) or True)
    assert await fetch() == CONTENT


async def test_a_server_without_validators_is_asked_for_everything_again(fetch, artifacts):
    cuts = [100_000]
    artifacts.mischief = lambda handler: bool(cuts) and (handler.answer(200, CONTENT, send=cuts.pop()) or True)
    assert await fetch() == CONTENT
    assert artifacts.ranges == [None, None]


async def test_another_content_is_refused_and_removed(fetch, tmp_path):
    with pytest.raises(Refused, match="expected checksum"):
        await fetch(checksum="0" * 64)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_that_is_too_large_is_refused(fetch, artifacts, tmp_path, announced):
    if not announced:

        def chunked(handler):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT))
            return True

        artifacts.mischief = chunked
    with pytest.raises(Refused, match="larger than the 100000 bytes"):
        await fetch(most_bytes=100_000)
    assert os.listdir(tmp_path) == []


async def test_a_label_of_compression_does_not_change_the_bytes(fetch, artifacts):
    artifacts.mischief = lambda handler: handler.answer(200, CONTENT, **{"Content-Encoding": "gzip"}) or True
    assert await fetch() == CONTENT


async def test_credentials_are_sent_and_asked_for(fetch, artifacts):
    artifacts.user = "site:sécret"
    with pytest.raises(Refused, match="correct username and password"):
        await fetch()
    assert await fetch(artifacts.source(username="site", password="sécret")) == CONTENT


async def test_a_certificate_of_an_unknown_authority_is_refused(fetch, artifacts):
    with pytest.raises(Refused, match="is not trusted"):
        await fetch(artifacts.source(ca_file=None))
    assert artifacts.requests == []


async def test_an_authority_may_be_trusted_beside_the_systems(fetch, artifacts):
    assert await fetch(artifacts.source(ca_file=None, extra_ca=artifacts.ca_file)) == CONTENT


async def test_insecure_looks_at_no_certificate(fetch, artifacts):
    assert await fetch(artifacts.source(ca_file=None, insecure=True)) == CONTENT


async def test_authorities_that_cannot_be_read_are_the_operators_mistake(fetch, artifacts, tmp_path):
    with pytest.raises(BadInput, match="give a PEM file"):
        await fetch(artifacts.source(ca_file=tmp_path / "nowhere.pem"))


async def test_redirects_are_followed_on_https(fetch, artifacts):
    artifacts.mischief = lambda handler: (
        handler.path == "/old" and (handler.answer(302, b"", Location="/echo.tgz") or True)
    )
    assert await fetch(artifacts.source("/old")) == CONTENT


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "file:///etc/passwd", "ftp://h/x", "http://[", "https://"])
async def test_redirects_to_other_schemes_are_refused(fetch, artifacts, target):
    artifacts.mischief = lambda handler: handler.answer(302, b"", Location=target) or True
    with pytest.raises(Refused, match="correct the server"):
        await fetch()


async def test_redirects_in_a_circle_end(fetch, artifacts):
    artifacts.mischief = lambda handler: handler.answer(302, b"", Location="/echo.tgz") or True
    with pytest.raises(Refused, match="redirects more than 5 times"):
        await fetch()


async def test_credentials_do_not_follow_to_another_port(fetch, artifacts, authority):
    with ArtifactServer(authority) as other:
        other.files["/echo.tgz"] = CONTENT
        artifacts.mischief = lambda handler: handler.answer(302, b"", Location=other.url()) or True
        assert await fetch(artifacts.source(username="u", password="p")) == CONTENT
        assert "Authorization" in artifacts.requests[0][1]
        assert "Authorization" not in other.requests[0][1]


async def test_nobody_listening_is_worth_another_try(fetch):
    with pytest.raises(Unavailable, match="ConnectError"):
        await fetch(Source("https://127.0.0.1:1/echo.tgz"))


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/ä\u202e", "https://xn--/", "https://a..b/"])
async def test_addresses_that_only_look_like_some_are_refused_or_unreachable(fetch, url):
    with pytest.raises((Refused, Unavailable)):
        await fetch(Source(url), patience=ONCE)


def stalled(artifacts, *, drip):
    """Let the server begin an answer and then stall or drip; the event tells that it has begun."""
    begun = threading.Event()

    def mischief(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:70_000])
        begun.set()
        at = 70_000
        while not artifacts.released.wait(0.01 if drip else 60):
            handler.wfile.write(CONTENT[at : at + 1])
            at += 1
        return True

    artifacts.mischief = mischief
    return begun


async def arrived(file, size):
    """Wait for that much of a file on disk (the last few KB are buffered), whatever clock Trio goes by."""
    for _ in range(2000):
        if file.exists() and file.stat().st_size >= size:
            return
        await trio.to_thread.run_sync(time.sleep, 0.005)
    pytest.fail(f"{size} bytes never arrived")


async def test_a_server_that_drips_is_left_after_a_while_and_nothing_is_wasted(fetch, artifacts, tmp_path, mock_clock):
    stalled(artifacts, drip=True)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def giving_up():
            with pytest.raises(Unavailable, match="took more than 900 seconds"):
                await fetch(artifacts.source(timeout=10_000))

        await arrived(tmp_path / "echo.tgz", 60_000)
        mock_clock.jump(901)
    artifacts.mischief = None
    assert await fetch() == CONTENT
    assert artifacts.ranges[1] is not None


async def test_a_server_that_stalls_is_left_after_its_timeout(fetch, artifacts, tmp_path, mock_clock):
    stalled(artifacts, drip=False)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def giving_up():
            with pytest.raises(Unavailable, match="ReadTimeout"):
                await fetch(artifacts.source(timeout=60), patience=ONCE)

        await arrived(tmp_path / "echo.tgz", 60_000)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(59)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)


class LateResolver(trio.abc.HostnameResolver):
    """Answers only after a question was lost and asked again, as a name server that starts anew."""

    def __init__(self, clock):
        self.clock = clock

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002 - the interface's name
        self.clock.jump(6)
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_name_server_that_misses_one_question_does_not_end_a_download(fetch, artifacts, mock_clock):
    trio.socket.set_custom_hostname_resolver(LateResolver(mock_clock))
    named = artifacts.source().url.replace("127.0.0.1", "artifacts.test")
    assert await fetch(Source(named, insecure=True), patience=ONCE) == CONTENT


async def test_cancellation_removes_what_has_arrived(fetch, artifacts, tmp_path):
    begun = stalled(artifacts, drip=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch)
        assert await trio.to_thread.run_sync(begun.wait, 10)
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path) == []


def test_timeouts_are_at_least_five_seconds():
    assert Source("https://h/x", timeout=1).timeout == 5
    assert Source("https://h/x", timeout=float("nan")).timeout == 5
    assert Source("https://h/x", timeout=60).timeout == 60


def test_secrets_do_not_show():
    source = Source("https://user:hunter2@h/x", username="u", password="hunter3")
    assert source.shown == "https://h/x"
    assert "hunter3" not in repr(source)
