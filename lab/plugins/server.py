"""An HTTPS server for archives on one machine: whole files, or the rest of one that broke off.

    python -m lab.plugins.server --root DIRECTORY --certificate server.pem --port 8443

A stand-in for the Apache HTTP server of the containers that needs nothing but Python. As a plain HTTP server (without a
certificate) it also answers as a proxy would, with its own files whatever the host that was asked for.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Artifact:
    """A file's bytes, and the strong entity tag of just these."""

    content: bytes
    tag: str


class ArtifactServer(ThreadingHTTPServer):
    """Serves the files below `root`; `serve_forever` does so until `shutdown`. Port 0 takes any free one."""

    daemon_threads = True

    def __init__(self, root: Path, certificate: Path | None, port: int = 0) -> None:
        self.root = root.resolve()
        super().__init__(("127.0.0.1", port), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # Shaking hands in the thread of the connection: a client that breaks that off stops no one else.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme = "http" if certificate is None else "https"

    def url(self, path: str = "/") -> str:
        """Where a client finds this path."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}{path}"

    def find(self, path: str) -> Artifact | None:
        """The file of an absolute path, None when there is none."""
        try:
            file = (self.root / path.lstrip("/")).resolve()
            if not file.is_relative_to(self.root) or not file.is_file():
                return None
            changed, content = file.stat().st_mtime_ns, file.read_bytes()
        except (OSError, ValueError):  # ValueError: a path that no file can have
            return None
        return Artifact(content, f'"{len(content):x}-{changed:x}"')

    def interferes(self, handler: Handler) -> bool:
        """Whether something else has answered instead: a seam for tests."""
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is told in one line."""
        fault = sys.exc_info()[1]
        if not isinstance(fault, ConnectionError | ssl.SSLError | TimeoutError):
            print(f"{client_address}: {fault!r}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: ArtifactServer

    def do_GET(self) -> None:
        """Answer with a file, the rest of one, or 404."""
        if self.server.interferes(self):
            return
        found = self.server.find(unquote(urlsplit(self.path).path))
        if found is None:
            self.answer(404, b"There is no such file.\n")
        else:
            self.serve(found)

    do_HEAD = do_GET  # noqa: N815

    def serve(self, artifact: Artifact) -> None:
        """The whole of it, or what follows the bytes that the client has already."""
        content, tag = artifact.content, artifact.tag
        begin = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if not begin.isdecimal() or self.headers.get("If-Range", tag) != tag:
            self.answer(200, content, ETag=tag)
        elif int(begin) >= len(content):
            self.answer(416, b"", send=None, **{"Content-Range": f"bytes */{len(content)}"})
        else:
            rest = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[int(begin) :], send=None, **{"ETag": tag, "Content-Range": rest})

    def answer(self, status: int, body: bytes, *, send: int | None = None, **headers: str) -> None:
        """Send an answer; with `send`, only so many bytes of what was announced, and then end the connection."""
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):
                self.wfile.write(body[:send])
                self.wfile.flush()
        self.close_connection |= send is not None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """One line to standard error."""
        print(f"{self.address_string()} {format % args}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="Serve archives over HTTPS on 127.0.0.1.")
    parser.add_argument("--root", type=Path, required=True, help="directory of the files")
    parser.add_argument("--certificate", type=Path, help="PEM file with key and certificate; plain HTTP without")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    with ArtifactServer(given.root, given.certificate, given.port) as server, suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
