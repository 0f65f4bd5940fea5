"""The second act: a signed plugin is published, replaced, forged and taken back, while the site goes on.

The vendor works with its own commands (`mra saas plugins pack|sign|publish`); what came of it is read from the SaaS's
stream, with a reader that shares no code with the agent, and from the site itself.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from lab.stage import CUSTOMER, HOME, LAB
from mra.control import ask_daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.screen import Show
    from lab.stage import Lab
    from mra.settings import Settings

EVENTS = "MACHINE_ROOM_EVENTS"
PATIENCE_SECONDS = 30.0
Event = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """What became of the plugin; None or False for what did not come about."""

    deployed: str | None = None
    upgraded: str | None = None
    tampered: str | None = None
    removed: bool = False

    @property
    def is_perfect(self) -> bool:
        """Every order was carried out, and the forged one was refused."""
        return self == Delivery("1.0.0", "2.0.0", "refused", True)


@dataclass(frozen=True)
class Orders:
    """The specifications of the act, one for each step, newest last."""

    first: bytes
    second: bytes
    forged: bytes
    nothing: bytes


def prepare(lab: Lab) -> Orders:
    """Pack the plugin's versions onto the artifact server and sign the lists that name them. It needs no SaaS."""
    source, seed = HOME / "greeter", HOME / "signer.seed"
    shutil.copytree(LAB / "plugins" / "greeter", source)
    seed.touch(mode=0o600)
    seed.write_text((LAB / "plugins" / "signer.seed").read_text())
    manifest = (source / "machine.yaml").read_text()

    def pack(version: str) -> bytes:
        (source / "machine.yaml").write_text(manifest.replace("version: 1.0.0", f"version: {version}"))
        base = f"https://127.0.0.1:{lab.artifacts_port}"
        return lab.saas("plugins", "pack", str(source), "--into", str(lab.artifacts), "--base-url", base)

    def sign(serial: int, listed: bytes) -> bytes:
        return lab.saas("plugins", "sign", "--seed", str(seed), "--serial", str(serial), stdin=listed)

    return Orders(sign(1, pack("1.0.0")), sign(2, pack("2.0.0")), forged(sign(3, pack("3.0.0"))), sign(4, b"[]"))


class Vendor:
    """The vendor at work: orders go out, and the stream tells what came of them."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._account = lab.account

    def publish(self, specification: bytes) -> None:
        """Order it for the customer's agents."""
        self._lab.saas("plugins", "publish", CUSTOMER, stdin=specification)

    def newest(self, watcher: str) -> tuple[int, Event]:
        """The newest event of a type of watcher in the stream, and its place there; (0, {}) when there is none."""
        subject = f"machine_room.events.{self._account}.machine.watcher.{watcher}.state"
        return trio.run(_last, self._lab, subject)

    def is_greeted_by(self, version: str, after: int = 0) -> bool:
        """Whether the stream holds an event of this version of the plugin, behind a place in it."""
        place, event = self.newest("exec")
        return place > after and (event["machine"], event["version"]) == ("greeter", version)


async def _last(lab: Lab, subject: str) -> tuple[int, Event]:
    async with lab.open_wire() as wire:
        question = json.dumps({"last_by_subj": subject}).encode()
        found = await wire.request(f"$JS.API.DIRECT.GET.{EVENTS}", question)
    return (0, {}) if found.status else (int(found.headers["Nats-Sequence"]), json.loads(found.body)["data"])


def forged(specification: bytes) -> bytes:
    """A specification whose list was changed after it was signed."""
    document = json.loads(specification)
    listed = json.loads(base64.b64decode(document["plugins"]))
    listed[0]["source"] = "https://127.0.0.1/elsewhere.tgz"
    return json.dumps({**document, "plugins": base64.b64encode(json.dumps(listed).encode()).decode()}).encode()


def _wait(condition: Callable[[], bool]) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def deliver(lab: Lab, settings: Settings, show: Show, orders: Orders) -> Delivery:
    """The whole act; a step that fails is told, and the act goes on."""
    vendor = Vendor(lab)
    return Delivery(
        deployed=_release(vendor, show, orders.first, "1.0.0"),
        upgraded=_release(vendor, show, orders.second, "2.0.0"),
        tampered=_forge(vendor, show, orders.forged, running="2.0.0"),
        removed=_take_back(vendor, show, orders.nothing, settings),
    )


def _release(vendor: Vendor, show: Show, order: bytes, version: str) -> str | None:
    """Publish a version; it, once its events arrive."""
    vendor.publish(order)
    show.say(f"the vendor publishes plugin greeter {version}, signed")
    if not _wait(lambda: vendor.is_greeted_by(version)):
        show.say(f"NO EVENT of greeter {version} arrived")
        return None
    show.say(f"the site fetched it over HTTPS and runs it: events of greeter {version} arrive")
    return version


def _forge(vendor: Vendor, show: Show, order: bytes, running: str) -> str | None:
    """Publish a list that was changed after it was signed; "refused", once that is reported and `running` goes on."""
    vendor.publish(order)
    show.say("somebody publishes a list that was changed after it was signed")
    if not _wait(lambda: "signature" in vendor.newest("plugins")[1].get("reason", "")):
        show.say("NOBODY REPORTED IT")
        return None
    place, _ = vendor.newest("exec")
    if not _wait(lambda: vendor.is_greeted_by(running, after=place)):
        show.say(f"GREETER {running} RUNS NO MORE")
        return None
    show.say(f"the site refuses and reports it; greeter {running} runs on")
    return "refused"


def _take_back(vendor: Vendor, show: Show, order: bytes, settings: Settings) -> bool:
    """Publish an empty list; whether the plugin is gone then."""
    vendor.publish(order)
    show.say("the vendor takes the plugin back")
    gone = _wait(lambda: not _machines(settings) & {"greeter", "mm_greeter"})
    show.say("it is gone from the site" if gone else "IT IS STILL THERE")
    return gone


def _machines(settings: Settings) -> set[str]:
    return {each["name"] for each in ask_daemon(settings.socket, "machines.ls")}
