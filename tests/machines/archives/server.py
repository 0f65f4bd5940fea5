"""A real HTTPS server that serves bytes, ranges and mischief."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mra.machines.archives.source import Source

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and a certificate of it for 127.0.0.1."""

    ca_file: Path
    certificate: Path

    @classmethod
    def new(cls, directory):
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        ca = _certificate(ca_name, ca_name, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        own = _certificate(x509.Name([]), ca_name, key, ca_key, addresses)
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
        (directory / "server.pem").write_bytes(private + own.public_bytes(pem))
        return cls(directory / "ca.pem", directory / "server.pem")


def _certificate(subject, issuer, key, issuer_key, extension):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


class ArtifactServer:
    """Serves `files` by path. Each request is noted; `mischief` may answer in place of the server."""

    def __init__(self, authority):
        self.files = {}
        self.tags = {}
        self.requests = []  # (path, headers)
        self.mischief = None  # called with the handler; true when it has answered
        self.user = None  # "name:password", when asked for
        self.released = threading.Event()  # lets a handler that stalls go on
        self.ca_file = authority.ca_file
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate)
        # The handshake happens in the thread of the connection, so that a client that breaks it off stops no one.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda request, address: None

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path="/echo.tgz"):
        return f"https://127.0.0.1:{self._server.server_address[1]}{path}"

    def source(self, path="/echo.tgz", **others):
        return Source(self.url(path), **{"ca_file": self.ca_file, **others})

    @property
    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]


def _handler(artifacts):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            artifacts.requests.append((self.path, dict(self.headers)))
            if artifacts.mischief is not None and artifacts.mischief(self):
                return
            content = artifacts.files.get(self.path)
            if content is None:
                self.answer(404, b"<html>not here</html>")
            elif artifacts.user and self.headers.get("Authorization") != _basic(artifacts.user):
                self.answer(401, b"who are you")
            else:
                self.serve(content)

        def serve(self, content):
            tag = artifacts.tags.get(self.path, '"v1"')
            begin = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
            if not begin or self.headers.get("If-Range") != tag:
                self.answer(200, content, ETag=tag)
            elif int(begin) >= len(content):
                self.answer(416, b"")
            else:
                where = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                self.answer(206, content[int(begin) :], **{"ETag": tag, "Content-Range": where})

        def answer(self, status, body, *, send=None, **headers):
            """Send an answer; with `send`, only so many bytes of what was announced, and then end the connection."""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body if send is None else body[:send])
                self.wfile.flush()
            self.close_connection |= send is not None

        def log_message(self, *_):
            pass

    return Handler


def _basic(user):
    return "Basic " + base64.b64encode(user.encode()).decode()
