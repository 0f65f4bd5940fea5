"""The table `[site]`, checked. (pure)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mra.site.settings import FOLLOWER, LEADER, SiteSettings

if TYPE_CHECKING:
    from mra.settings.document import SiteTable
    from mra.settings.values import Values

_HIGHEST_TERM = 2**53
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def build_site(raw: SiteTable | None, state: str, values: Values) -> SiteSettings | None:
    """How the node takes part in a site; None for one that stands alone. Raises BadInput."""
    if raw is None:
        return None
    if raw.role not in ("", LEADER, FOLLOWER):
        raise values.bad("site.role", raw.role, f'write "{LEADER}" or "{FOLLOWER}"')
    if not 1 <= raw.term <= _HIGHEST_TERM:
        raise values.bad("site.term", raw.term, "count the terms from 1 on")
    for url in raw.urls:
        if not url.startswith("tls://") or _address(url.removeprefix("tls://")) is None:
            raise values.bad("site.urls", url, 'write the addresses of buses, such as "tls://10.0.0.1:9222"')
    listen, relay = _listening("site.listen", raw.listen, values), _listening("site.relay", raw.relay, values)
    if raw.role == LEADER and listen is None:
        raise values.bad("site.listen", "", 'say where the bus listens, such as "0.0.0.0:9222"')
    if raw.role == FOLLOWER and not raw.urls:
        raise values.bad("site.urls", [], "name the buses of the nodes that may lead")
    directory = values.path("site.keys", raw.keys or str(Path(state) / "site"))
    if raw.name and not _NAME.fullmatch(raw.name):
        raise values.bad("site.name", raw.name, "use 1 to 64 letters, digits, dashes or underscores")
    return SiteSettings(raw.role, raw.term, listen, tuple(raw.urls), directory, raw.name, relay=relay)


def _listening(key: str, text: str | None, values: Values) -> tuple[str, int] | None:
    found = None if text is None else _address(text)
    if text is not None and found is None:
        raise values.bad(key, text, 'write a host and a port, such as "0.0.0.0:9222"')
    return found


def _address(text: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not port or not text.isprintable() or set(text) & set(" \"'\\@/?#"):
        return None
    return host, port
