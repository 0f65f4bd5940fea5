"""The limits: what the hardware gives a loop that promises nothing but the same durability."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from mra.outbox import sqlite

if TYPE_CHECKING:
    from pathlib import Path

BODY = b"x" * 512
ROWS_PER_COMMIT = 1024
_COLUMNS = "seq INTEGER PRIMARY KEY, size INTEGER, sum INTEGER, wall INTEGER, mono INTEGER, boot INTEGER, ttl INTEGER,"
_WINDOW = 4000
_WRITE = 500


def bare_sqlite(folder: Path, commits: int) -> float:
    """Rows per second of `executemany` with 1,024 rows a commit, WAL, synchronous=FULL, rows of the outbox's shape."""
    path = folder / "bare.db"
    path.unlink(missing_ok=True)
    with closing(sqlite.connect(path)) as connection:
        connection.execute(
            f"CREATE TABLE row ({_COLUMNS} id TEXT, subject TEXT, key TEXT, headers TEXT, body BLOB) STRICT"
        )
        seq = 0
        started = time.perf_counter()
        for _ in range(commits):
            rows = [
                (seq + i, 600, 1, 1, 1, 1, None, "0123456789abcdef0123456789abcdef", "bench.row", None, None, BODY)
                for i in range(1, ROWS_PER_COMMIT + 1)
            ]
            seq += ROWS_PER_COMMIT
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        return seq / (time.perf_counter() - started)


class BareClient:
    """A NATS client that can do one thing: publish with acknowledgements, a window of them in flight."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._lines = self._socket.makefile("rb", 1 << 20)
        self._lines.readline()
        options = {"verbose": False, "user": user, "pass": password, "headers": True, "no_responders": True}
        self._socket.sendall(f"CONNECT {json.dumps(options)}\r\nSUB _INBOX.bare.* 1\r\nPING\r\n".encode())
        while self._lines.readline() != b"PONG\r\n":
            pass

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def publish(self, subject: str, count: int) -> float:
        """Messages per second that the server acknowledges."""
        head = subject.encode()
        sent = acknowledged = 0
        started = time.perf_counter()
        while acknowledged < count:
            if sent < count and sent - acknowledged <= _WINDOW - _WRITE:
                size = min(_WRITE, count - sent)
                frames = [
                    b"PUB %s _INBOX.bare.%d %d\r\n%s\r\n" % (head, number, len(BODY), BODY)
                    for number in range(sent, sent + size)
                ]
                self._socket.sendall(b"".join(frames))
                sent += size
            else:
                self._acknowledgement()
                acknowledged += 1
        return count / (time.perf_counter() - started)

    def _acknowledgement(self) -> None:
        while True:
            line = self._lines.readline()
            if line.startswith((b"MSG", b"HMSG")):
                body = self._lines.read(int(line.split()[-1]) + 2)
                if b'"error"' in body or line.startswith(b"HMSG"):
                    raise RuntimeError(body.decode())
                return
            if line == b"PING\r\n":
                self._socket.sendall(b"PONG\r\n")
