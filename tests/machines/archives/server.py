"""The lab's HTTPS server with files in memory, and mischief."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

from lab.plugins import server
from lab.plugins.server import Artifact
from mra.machines.archives.source import Source


class ArtifactServer(server.ArtifactServer):
    """Serves `files` by path. Each request is noted; `mischief` may answer in place of the server."""

    def __init__(self, authority):
        super().__init__(Path(), authority.certificate)
        self.files = {}
        self.tags = {}
        self.requests = []  # (path, headers)
        self.mischief = None  # called with the handler; true when it has answered
        self.user = None  # "name:password", when asked for
        self.released = threading.Event()  # lets a handler that stalls go on
        self.ca_file = authority.ca_file

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self, path="/echo.tgz"):
        return super().url(path)

    def source(self, path="/echo.tgz", **others):
        return Source(self.url(path), **{"ca_file": self.ca_file, **others})

    @property
    def ranges(self):
        return [headers.get("Range") for _, headers in self.requests]

    def find(self, path):
        content = self.files.get(path)
        return None if content is None else Artifact(content, self.tags.get(path, '"v1"'))

    def interferes(self, handler):
        self.requests.append((handler.path, dict(handler.headers)))
        if self.mischief is not None and self.mischief(handler):
            return True
        if self.user and handler.headers.get("Authorization") != _basic(self.user):
            handler.answer(401, b"who are you")
            return True
        return False

    def handle_error(self, request, client_address):
        pass


def _basic(user):
    return "Basic " + base64.b64encode(user.encode()).decode()
