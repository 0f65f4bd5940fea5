"""Desired state as machines ask for it: by bucket and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mra.config.index import BUCKET
from mra.errors import Unavailable

if TYPE_CHECKING:
    from mra.config.mirror import Mirror
    from mra.config.store import Stored


class Buckets:
    """Answers for the one bucket there is, `CONFIG`, from its mirror; keys are without the customer."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    async def get(self, bucket: str, key: str) -> Stored | None:
        """See `Mirror.get`. Raises Unavailable for another bucket too."""
        _check(bucket)
        return await self._mirror.get(key)

    async def wait_changed(self, bucket: str, key: str, revision: int | None) -> None:
        """See `Mirror.wait_changed`. Raises Unavailable for another bucket."""
        _check(bucket)
        await self._mirror.wait_changed(key, revision)


def _check(bucket: str) -> None:
    if bucket != BUCKET:
        raise Unavailable(f"There is no bucket {bucket[:80]}: agents have a copy of {BUCKET} only.")
