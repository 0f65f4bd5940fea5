"""The host's answers, group by group. Blocking: a dead disk or a stuck driver can hold any of these up.

Names follow gopsutil, which Choria's facts come from, so that look-ups in machines find the same things. A part that
cannot be read is absent, and the reason goes into the problems that each source is given.
"""

from __future__ import annotations

import ipaddress
import platform
import socket
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from mra.facts.cleaning import reason
from mra.facts.procfs import processors, swap_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

Problems = dict[str, str]

# Nothing is sent there: connecting a datagram socket only asks the kernel which address it would use. These
# addresses are reserved for documentation, so that no route but the default one leads to them.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


@contextmanager
def attempt(problems: Problems, what: str) -> Iterator[None]:
    """Note why `what` is missing instead of raising."""
    try:
        yield
    except Exception as error:
        problems[what] = reason(f"{type(error).__name__}: {error}")


def host(problems: Problems) -> dict[str, Any]:
    """Name, operating system, kernel, age and load."""
    info: dict[str, Any] = {"hostname": socket.gethostname(), "os": sys.platform}
    info |= {"kernelVersion": platform.release(), "kernelArch": platform.machine()}
    found: dict[str, Any] = {"info": info}
    with attempt(problems, "host.info.bootTime"):
        boot = psutil.boot_time()
        info |= {"bootTime": int(boot), "uptime": max(0, int(time.time() - boot))}
    with attempt(problems, "host.info.procs"):
        info["procs"] = len(psutil.pids())
    with attempt(problems, "host.info.platform"):
        release = platform.freedesktop_os_release()
        family = release.get("ID_LIKE", "").split() or [release.get("ID", "")]
        info |= {"platform": release.get("ID", ""), "platformFamily": family[0]}
        info["platformVersion"] = release.get("VERSION_ID", "")
    with attempt(problems, "host.info.hostId"):
        info["hostId"] = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    with attempt(problems, "host.load"):
        found["load"] = dict(zip(("load1", "load5", "load15"), psutil.getloadavg(), strict=True))
    return found


def network(problems: Problems) -> dict[str, Any]:
    """Interfaces, the addresses that others can reach, and which of them are the default ones."""
    interfaces = _interfaces(problems)
    defaults = {_default_address(family, elsewhere) for family, elsewhere in _ELSEWHERE}
    found: dict[str, Any] = {"interfaces": interfaces, "addresses": []}
    for interface in interfaces:
        for entry in interface["addrs"]:
            address = ipaddress.ip_interface(entry["addr"]).ip
            if address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified:
                continue
            text, ipv4, default = str(address), address.version == 4, str(address) in defaults
            found["addresses"].append(
                {"interface": interface["name"], "address": text, "ipv4": ipv4, "default": default}
            )
            if default:
                found["default_ipv4" if ipv4 else "default_ipv6"] = text
    return found


def _interfaces(problems: Problems) -> list[dict[str, Any]]:
    addresses = psutil.net_if_addrs()
    states: dict[str, Any] = {}
    with attempt(problems, "network.interfaces.flags"):
        states = psutil.net_if_stats()
    numbers = {name: index for index, name in socket.if_nameindex()}
    found = []
    for name in sorted(addresses, key=lambda name: (numbers.get(name, 0), name)):
        state = states.get(name)
        hardware = [entry.address for entry in addresses[name] if entry.family == psutil.AF_LINK]
        found.append(
            {
                "index": numbers.get(name, 0),
                "name": name,
                "mtu": state.mtu if state else 0,
                "hardwareAddr": hardware[0] if hardware else "",
                "flags": sorted(state.flags.split(",")) if state and state.flags else [],
                "addrs": [{"addr": text} for text in sorted(_with_prefixes(addresses[name]))],
            }
        )
    return found


def _with_prefixes(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if entry.family in (socket.AF_INET, socket.AF_INET6):
            text = entry.address.partition("%")[0]
            with suppress(ValueError):
                bits = int(ipaddress.ip_address(entry.netmask)).bit_count() if entry.netmask else None
                yield str(ipaddress.ip_interface(text if bits is None else f"{text}/{bits}"))


def _default_address(family: socket.AddressFamily, elsewhere: str) -> str:
    """Address of this host that a packet to the outside would carry; empty without a route, which is no problem."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((elsewhere, 53))
        return str(probe.getsockname()[0])
    return ""


def partition(problems: Problems) -> dict[str, Any]:
    """Mounted file systems on devices, and how full they are. Network and virtual ones are left out."""
    partitions, usage = [], []
    for part in psutil.disk_partitions(all=False):
        partitions.append(
            {
                "device": part.device,
                "mountpoint": part.mountpoint,
                "fstype": part.fstype,
                "opts": part.opts.split(","),
            }
        )
        with attempt(problems, f"partition.usage {part.mountpoint}"):
            room = psutil.disk_usage(part.mountpoint)
            usage.append(
                {"path": part.mountpoint, "fstype": part.fstype, "total": room.total, "free": room.free}
                | {"used": room.used, "usedPercent": room.percent}
            )
    return {"partitions": partitions, "usage": usage}


def cpu(_: Problems) -> dict[str, Any]:
    """One entry for each logical processor."""
    return {"info": processors(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))}


def memory(_: Problems) -> dict[str, Any]:
    """Main memory in bytes."""
    found = psutil.virtual_memory()._asdict()
    found["usedPercent"] = found.pop("percent")
    return {"virtual": found}


def swap(problems: Problems) -> dict[str, Any]:
    """Swap space in bytes, as a part of `memory`."""
    info = psutil.swap_memory()._asdict()
    info["usedPercent"] = info.pop("percent")
    devices: list[dict[str, Any]] = []
    with attempt(problems, "memory.swap.devices"):
        devices = swap_devices(Path("/proc/swaps").read_text(encoding="utf-8", errors="replace"))
    return {"swap": {"info": info, "devices": devices}}
