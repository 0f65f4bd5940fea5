"""How a node's enrolment stands, as one document for people and programs. It holds no secret."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from mra.enrol.enrolment import judge, load_enrolment
from mra.enrol.keys import load_keys
from mra.errors import MraError
from mra.tokens import choria

if TYPE_CHECKING:
    from pathlib import Path

    from mra.enrol.settings import EnrolSettings


def report(settings: EnrolSettings, now: float) -> dict[str, Any]:
    """What the node's files say at `now`, seconds since 1970. Raises Unavailable for files that cannot be read."""
    enrolment, keys = load_enrolment(settings.directory), load_keys(settings.directory)
    document: dict[str, Any] = {
        "standing": judge(enrolment, keys, now).value,
        "identity": settings.identity,
        "directory": str(settings.directory),
        "public_key": keys.identity.public if keys else None,
        "public_nkey": keys.user.public if keys else None,
        "enrolment": None,
        "token": _token(settings.token, now),
    }
    if enrolment is not None:
        grant = enrolment.grant
        document["identity"] = grant.identity
        document["enrolment"] = {
            "customer": grant.customer, "account": grant.account, "name": grant.name, "role": grant.role,
            "site": grant.site.name if grant.site else None, "urls": list(grant.urls),
            "issued_at": grant.issued_at, "expires": grant.expires,
            "issuer": enrolment.issuer, "configuration": dict(grant.configuration),
        }  # fmt: skip
    return document


def _token(file: Path, now: float) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="ascii").strip()
        said = choria.read(text)
    except FileNotFoundError:
        return {"file": str(file), "problem": "there is none"}
    except OSError as error:
        return {"file": str(file), "problem": f"it cannot be read ({error.strerror})"}
    except (UnicodeDecodeError, MraError) as error:
        return {"file": str(file), "problem": error.sentence if isinstance(error, MraError) else "it is no text"}
    return {
        "file": str(file),
        "problem": "it has expired" if now >= said.expires else None,
        "id": said.id,
        "customer": said.extension("customer"),
        "role": said.extension("role"),
        "urls": list(said.urls),
        "expires": said.expires,
        "fingerprint": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
    }
