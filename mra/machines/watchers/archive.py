"""`archive`: keeps an archive deployed (section 3.4 of the reference)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from mra.errors import BadInput, Refused, Unavailable
from mra.log import logger
from mra.machines import decode
from mra.machines.archives.deploy import Deployment, Unfit, deploy, discard, flaw, recover_one
from mra.machines.archives.source import Source, without_credentials
from mra.machines.decode import Properties
from mra.machines.manifest import IntervalRule
from mra.machines.watchers.polling import SKIPPED, PollingWatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mra.machines.context import Context
    from mra.machines.definition import WatcherDef
    from mra.machines.durations import Duration
    from mra.machines.watchers.base import Outcome

log = logger("machines")
_UNFIT_SECONDS: Final = 3600.0  # until an archive that did not do is tried again


class ArchiveProperties(Properties):
    """What to fetch, where it goes, and how it is recognised. `ca_file` is an addition to Choria's."""

    source: str = decode.text(required=True)
    target: str = decode.text(required=True)
    creates: str = decode.text(required=True)
    checksum: str = decode.text(required=True)
    verify: str = decode.text()
    verify_checksum: str = decode.text()
    username: str = decode.text()
    password: str = decode.text()
    timeout: Duration = decode.duration("5s")
    governor: str = decode.text()
    governor_timeout: Duration = decode.duration("5m")
    insecure: bool = decode.flag()
    ca_file: str = decode.text()

    def faults(self) -> Iterable[tuple[str, str]]:
        """What goes only together, and what can never work."""
        if self.verify and not self.verify_checksum:
            yield "verify_checksum", "it is required with verify; give the SHA-256 of that file"
        if self.username and not self.password:
            yield "password", "it is required with username; give it a value"
        if "/" in self.creates.rstrip("/") or self.creates.rstrip("/") in {"", ".", "..", "tmp"}:
            yield "creates", "it names a directory directly below target; leave other directories away"


class ArchiveWatcher(PollingWatcher[ArchiveProperties]):
    """Looks at what is deployed, and deploys it again when it is missing or was altered.

    Differences to Choria, on purpose: an HTTP status other than 200 is an error; `timeout` bounds each wait for the
    network rather than the whole download; an interrupted download goes on where it broke off; a tree with a
    manifest goes live only if that is valid, and stays only if the machine runs; `machine_data.json` survives;
    digests may be in upper case; error events have a `reason`. An archive that did not do is not fetched again for an
    hour.
    """

    kind = "archive"
    schema: ClassVar[type[Properties]] = ArchiveProperties
    interval_rule = IntervalRule(minimum="10s")

    def __init__(self, definition: WatcherDef, context: Context) -> None:
        super().__init__(definition, context)
        self.source = self.properties.source
        self._target = context.directory / self.properties.target
        self._creates = self.properties.creates.rstrip("/")
        self._begun: Deployment | None = None  # has left the beginning of a download
        self._unfit: tuple[str, str, float] | None = None  # digests, reason, and until when to believe it

    async def run(self) -> None:
        try:
            await trio.to_thread.run_sync(recover_one, self._target, self._creates)
            await super().run()
        finally:
            with trio.CancelScope(shield=True):
                await self._forget()

    def first_wait(self) -> float:
        return 0.0

    async def turn(self) -> None:
        if not self.is_active():
            await self._forget()
        await super().turn()

    async def evaluate(self) -> Outcome:
        if not self.context.directory.is_dir():
            return SKIPPED  # this machine is being removed
        deployment = self._deployment()
        reason = await trio.to_thread.run_sync(flaw, deployment, abandon_on_cancel=True)
        if not reason:
            self._unfit = None
            return self.success("verified")
        log.info("archive to be deployed", machine=self.context.origin.machine, reason=reason)
        self._refuse_unfit(deployment)
        governor = self.context.expand(self.properties.governor)
        async with self.context.governed(governor, self.definition.name, self.properties.governor_timeout):
            await self._deploy(deployment)
        return self.success("downloaded")

    def report(self) -> Mapping[str, Any]:
        report = {
            "source": without_credentials(self.source),
            "creates": self.properties.creates,
            "previous_outcome": self.outcome,
            "previous_run_time": round(self.run_seconds * 1e9),
        }
        return {**report, "reason": self.trouble} if self.outcome == "error" else report

    async def _deploy(self, deployment: Deployment) -> None:
        trials = self.context.services.trials
        self.source, self._begun = deployment.source.url, deployment
        try:
            await deploy(deployment, check=self._check, trial=trials.prove)
        except Unavailable:
            raise
        except Unfit as refusal:
            until = trio.current_time() + _UNFIT_SECONDS
            self._begun, self._unfit = None, (_version(deployment), refusal.sentence, until)
            self.context.services.look_soon()  # the version before is back, and shall run
            raise
        except BaseException:
            self._begun = None
            raise
        self._begun = None

    def _check(self, tree: Path) -> None:
        self.context.services.trials.check(tree)
        if not self.context.directory.is_dir():
            raise Refused(f"{self.properties.creates} is not wanted any more; it was removed meanwhile")

    def _refuse_unfit(self, deployment: Deployment) -> None:
        if self._unfit is None or self._unfit[0] != _version(deployment) or self._unfit[2] <= trio.current_time():
            return
        raise Refused(self._unfit[1])

    def _deployment(self) -> Deployment:
        """What shall be there, with all templates expanded. Raises `BadInput`."""
        properties, expand = self.properties, self.context.expand
        checksum, sums = expand(properties.checksum), expand(properties.verify_checksum)
        if not checksum or (properties.verify and not sums):
            raise BadInput("a checksum is empty once its templates are expanded")
        return Deployment(
            Source(
                expand(properties.source),
                expand(properties.username),
                expand(properties.password),
                properties.timeout.seconds,
                properties.insecure,
                Path(properties.ca_file) if properties.ca_file else None,
                self.context.services.extra_ca,
            ),
            checksum,
            self._target,
            self._creates,
            properties.verify,
            sums,
        )

    async def _forget(self) -> None:
        """Remove the beginning of a download."""
        if self._begun is not None:
            await trio.to_thread.run_sync(discard, self._begun)
            self._begun = None


def _version(deployment: Deployment) -> str:
    return f"{deployment.checksum} {deployment.verify_checksum}".lower()
