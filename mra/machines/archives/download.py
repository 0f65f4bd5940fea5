"""Downloads one file over HTTPS, however often the way there breaks. Trio; httpx speaks HTTP.

A download is known by its checksum, so bytes from a broken attempt are worth keeping: the next request asks for the
rest (`Range`), on the condition that the server still has the same file (`If-Range`). Its answer is never trusted; the
checksum of the whole decides.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import trio

from mra import __version__
from mra.errors import BadInput, Refused, Unavailable
from mra.machines.archives.limits import DEFAULT_LIMITS
from mra.machines.archives.partial import Origin, Partial
from mra.machines.archives.patience import DEFAULT_PATIENCE, Patience
from mra.machines.archives.source import Source, without_credentials
from mra.machines.archives.sums import sha256_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

USER_AGENT: Final = f"Choria Archive Watcher (mra {__version__})"
_MOST_REDIRECTS: Final = 5
_RESOLVER_SECONDS: Final = 10.0  # after five a resolver asks again, or another server (resolv.conf(5)): let it
_LATER: Final = frozenset({408, 425, 429})  # beside all of 5xx


async def download(
    source: Source,
    file: Path,
    *,
    checksum: str,
    most_bytes: int = DEFAULT_LIMITS.archive_bytes,
    patience: Patience = DEFAULT_PATIENCE,
) -> None:
    """Fetch `source` into `file`, which has the SHA-256 `checksum` (hex, any case) when this returns.

    After `Unavailable` what was received stays beside `file` for the next call, also of another process. After anything
    else, cancellation included, nothing stays. Redirects are followed, but never away from https, and credentials
    never go to another host.

    Raises:
        Unavailable: the server is out of reach, busy or too slow, or the disk is full.
        Refused: there is no such file, it is too large, has another checksum, or the certificate is not trusted.
    """
    partial = Partial(file)
    try:
        with trio.fail_after(patience.total_seconds):
            async with await _client(source) as client:
                await _Fetch(client, source, partial, checksum.lower(), most_bytes).verified(patience.pauses)
    except trio.TooSlowError as cause:
        raise Unavailable(
            f"{source.shown} took more than {patience.total_seconds:.0f} seconds; it goes on later"
        ) from cause
    except Unavailable:
        raise
    except OSError as fault:
        partial.remove()
        raise Unavailable(
            f"{file} cannot be written ({fault.strerror or fault}); make room or fix its directory"
        ) from fault
    except BaseException:
        partial.remove()
        raise


@dataclass(frozen=True, slots=True)
class _Fetch:
    client: httpx.AsyncClient
    source: Source
    partial: Partial
    checksum: str
    most_bytes: int

    async def verified(self, pauses: Sequence[float]) -> None:
        """Fetch until what is there has the checksum."""
        resumed = self._offset() > 0
        if resumed and await self._is_right():
            return
        await self._whole(pauses)
        if resumed and not await self._is_right():  # what we had was not the beginning of this
            self.partial.remove()
            await self._whole(pauses)
        if not await self._is_right():
            raise Refused(f"{self.source.shown} does not have the expected checksum; publish the file that was signed")

    async def _whole(self, pauses: Sequence[float]) -> None:
        for pause in (*pauses, None):
            try:
                await self._attempt()
            except Unavailable:
                if pause is None:
                    raise
                await trio.sleep(pause)
            else:
                break

    async def _is_right(self) -> bool:
        return await trio.to_thread.run_sync(self._digest) == self.checksum

    def _digest(self) -> str:
        with self.partial.file.open("rb") as file:
            return sha256_of(file)

    def _offset(self) -> int:
        return self.partial.resume(self.source.url, self.checksum)[0]

    async def _attempt(self) -> None:
        """One request, with the redirects it leads to."""
        url = first = _address(self.source)
        for _ in range(_MOST_REDIRECTS + 1):
            own = url.raw_host == first.raw_host and (url.port == first.port or url.scheme != first.scheme)
            auth = httpx.BasicAuth(self.source.username, self.source.password) if self.source.username and own else None
            try:
                async with self.client.stream("GET", url, headers=self._range(), auth=auth) as response:
                    if not response.has_redirect_location:
                        return await self._take(response)
                    url = _redirected(url, response.headers["location"], self.source.shown)
            except httpx.HTTPError as fault:
                raise _translated(fault, self.source) from fault
            except UnicodeError as cause:  # the resolver's, for names that only look like some
                raise BadInput(f"source {self.source.shown} has no possible host name ({cause}); correct it") from cause
        raise Refused(
            f"{self.source.shown} redirects more than {_MOST_REDIRECTS} times; correct the server or the source"
        )

    def _range(self) -> dict[str, str]:
        offset, validator = self.partial.resume(self.source.url, self.checksum)
        return {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}

    async def _take(self, response: httpx.Response) -> None:
        """Judge an answer, and write its body."""
        offset = self._offset()
        if response.status_code == 416 and offset:
            self.partial.remove()
            raise Unavailable(f"{self.source.shown} has become shorter than what is here of it; it is fetched anew")
        if response.status_code not in {200, 206}:
            raise _refusal(response.status_code, self.source.shown)
        if response.status_code == 206 and not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            self.partial.remove()
            raise Unavailable(f"{self.source.shown} sent another part than was asked for; it is fetched anew")
        if response.status_code == 200:
            offset = 0
            self.partial.begin(Origin(self.source.url, self.checksum, _validator(response.headers)))
        length = response.headers.get("content-length", "0")
        if offset + (int(length) if length.isascii() and length.isdigit() else 0) > self.most_bytes:
            raise self._too_large()
        await self._write(response, offset)

    async def _write(self, response: httpx.Response, size: int) -> None:
        fault: Exception | None = None
        async with await trio.open_file(self.partial.file, "ab") as file:
            # Reading is only ever ended from within, by cancellation: httpx stacks generators, and any that are left
            # half-way stay open. So nothing is raised between two pieces, and writing, which is short, is shielded.
            # The bytes are raw: a server may label an archive as gzip-encoded, and the checksum is the archive's.
            with trio.CancelScope() as reading:
                async for piece in response.aiter_raw():
                    size += len(piece)
                    fault = fault or await self._append(file.write, piece, size)
                    if fault:
                        reading.cancel()
        if fault:
            raise fault

    async def _append(self, write: Callable[[bytes], Awaitable[int]], piece: bytes, size: int) -> Exception | None:
        """Write one piece, after which there are `size` bytes; what went wrong."""
        if size > self.most_bytes:
            return self._too_large()
        try:
            with trio.CancelScope(shield=True):
                await write(piece)
        except OSError as fault:
            return fault
        return None

    def _too_large(self) -> Refused:
        return Refused(
            f"{self.source.shown} is larger than the {self.most_bytes} bytes allowed; publish a smaller archive"
        )


async def _client(source: Source) -> httpx.AsyncClient:
    try:
        trust = await trio.to_thread.run_sync(_trust, source)
        return httpx.AsyncClient(
            verify=trust,
            timeout=httpx.Timeout(source.timeout, connect=source.timeout + _RESOLVER_SECONDS),
            headers={"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as cause:
        raise BadInput(
            f"the proxy named in the environment cannot be used ({cause}); name an http or https one"
        ) from cause


def _trust(source: Source) -> ssl.SSLContext:
    """The system's certificate authorities and those of `extra_ca`, or just the ones of `ca_file`."""
    file = source.ca_file or source.extra_ca
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
        if file is not None and file != source.ca_file:
            context.load_verify_locations(cafile=file)
    except OSError as cause:  # ssl.SSLError is one
        raise BadInput(f"certificates in {file} cannot be read ({cause}); give a PEM file") from cause
    if source.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _address(source: Source) -> httpx.URL:
    try:
        return httpx.URL(source.url)
    except httpx.InvalidURL as cause:
        raise BadInput(f"source {source.shown} is no address ({cause}); give an http or https address") from cause


def _redirected(url: httpx.URL, location: str, shown: str) -> httpx.URL:
    try:
        target = url.join(location)
    except httpx.InvalidURL as cause:
        raise Refused(f"{shown} redirects to no address ({cause}); correct the server or the source") from cause
    if not target.raw_host or target.scheme not in {url.scheme, "https"}:
        raise Refused(
            f"{shown} redirects to {without_credentials(str(target))}, which is not as safe; correct the server"
        )
    return target


def _validator(headers: httpx.Headers) -> str:
    """What `If-Range` may name: a strong entity tag, else the date of modification."""
    tag: str = headers.get("etag", "")
    validator: str = tag if tag.startswith('"') else headers.get("last-modified", "")
    return validator if validator.isascii() else ""


def _refusal(status: int, shown: str) -> Refused | Unavailable:
    if status in _LATER or status >= 500:
        return Unavailable(f"{shown} answered with HTTP status {status}; it is asked again later")
    if status in {401, 403}:
        return Refused(f"{shown} answered with HTTP status {status}; correct username and password")
    return Refused(f"{shown} answered with HTTP status {status} instead of the archive; publish it there")


def _translated(fault: httpx.HTTPError, source: Source) -> Refused | Unavailable:
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(
                f"the certificate of {source.shown} is not trusted ({cause.verify_message}); install its authority here"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(fault, httpx.UnsupportedProtocol):
        return BadInput(f"{source.shown} is no http or https address")
    reason = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    if isinstance(fault, (httpx.ConnectError, httpx.ConnectTimeout)):
        return Unavailable(f"{source.shown} is out of reach ({reason}); it is tried again later")
    return Unavailable(f"{source.shown} broke off ({reason}); it goes on later")
