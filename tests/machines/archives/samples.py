"""Archives made by hand, so that they can hold what no honest program would pack."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from contextlib import contextmanager

MANIFEST = b"""\
name: echo
version: 0.0.1
initial_state: RUN
transitions:
  - {name: again, from: [RUN], destination: RUN}
watchers:
  - {name: w, type: timer, state_match: [RUN], properties: {timer: 1h}}
"""


def header(name, content=None, *, kind=None, mode=0o644, link=""):
    """One header; without content, a directory."""
    info = tarfile.TarInfo(name)
    info.type = kind or (tarfile.DIRTYPE if content is None else tarfile.REGTYPE)
    info.mode, info.size, info.linkname = mode, len(content or b""), link
    return info


def tgz(*members, fmt=tarfile.GNU_FORMAT, pax=None):
    """A gzipped tar of (header, content) pairs or headers."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=fmt, pax_headers=pax) as archive:
        for member in members:
            info, content = member if isinstance(member, tuple) else (member, b"")
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def file(name, content=b"x", **others):
    return header(name, content, **others), content


def raw_tgz(blocks):
    return gzip.compress(blocks)


def plugin_tgz(name="echo", manifest=MANIFEST, **files):
    """A plugin as an agent deploys it: the archive, its digest, the digest of its sums."""
    contents = {"machine.yaml": manifest, **{key.replace("__", "."): value for key, value in files.items()}}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {each}\n" for each, content in contents.items()).encode()
    packed = tgz(
        header(name, mode=0o755),
        file(f"{name}/SHA256SUMS", sums),
        *(file(f"{name}/{each}", content) for each, content in contents.items()),
    )
    return packed, hashlib.sha256(packed).hexdigest(), hashlib.sha256(sums).hexdigest()


def snapshot(directory):
    """Everything below a directory: contents of files, None for directories."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


class Crash(BaseException):
    """Stands for the end of the process: nothing below a test catches it."""


@contextmanager
def crashing_at(monkeypatch, names, step):
    """Let the process end before the given call of these functions of `os` and `Path`, counted together."""
    calls = 0
    with monkeypatch.context() as patch:
        for owner, name in names:
            real = getattr(owner, name)

            def counted(*args, real=real, **kwargs):
                nonlocal calls
                calls += 1
                if calls == step:
                    raise Crash
                return real(*args, **kwargs)

            patch.setattr(owner, name, counted)
        yield lambda: calls
