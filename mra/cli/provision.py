"""`mra provision ...`: who this node is to its SaaS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import config_option, json_option
from mra.errors import BadInput, Busy, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from mra.enrol.settings import EnrolSettings
    from mra.settings import Settings

_MEANING = {
    "missing": "not enrolled",
    "mismatched": "not enrolled (there is an enrolment, for keys that are gone)",
    "expired": "enrolled, but expired; it is renewed as soon as the SaaS can be reached",
    "due": "enrolled, to be renewed",
    "valid": "enrolled",
}


@click.group()
def provision() -> None:
    """The enrolment of this node.

    \b
    Examples:
      mra provision status
      mra provision status --json | jq -r .standing
    """


@provision.command("status")
@config_option
@json_option
def provision_status(config: Path, as_json: bool) -> None:
    """Show how the enrolment stands, with the daemon up or down: customer, keys, token, and what was tried last.

    \b
    Example:
      mra provision status
    """
    from mra.control import ask_daemon
    from mra.enrol.report import report
    from mra.settings import read_settings

    settings = read_settings(config)
    document = report(_enrolling(settings), time.time())
    try:
        document["daemon"] = ask_daemon(settings.socket, "provision")
    except Unavailable:
        document["daemon"] = None
    if as_json:
        show.print_json(document)
    else:
        show.pairs(_readable(document))


@provision.command("renew")
@config_option
@json_option
def provision_renew(config: Path, as_json: bool) -> None:
    """Have the running agent renew its enrolment now, as after the SaaS changed what it configures.

    A provisioning token that replaced the one before, with another role, is used by itself within the hour.

    \b
    Example:
      mra provision renew
    """
    from mra.control import ask_daemon
    from mra.settings import read_settings

    settings = read_settings(config)
    _enrolling(settings)
    told = ask_daemon(settings.socket, "renew")
    if as_json:
        show.print_json(told)
    else:
        click.echo("The agent asks the SaaS; `mra provision status` shows what came of it.")


@provision.command("rekey")
@config_option
@json_option
def provision_rekey(config: Path, as_json: bool) -> None:
    """Make a new identity key; the SaaS accepts it at the next start, as the old key vouches for it.

    The daemon has to be stopped. The old key is removed once the SaaS has accepted the new one.

    \b
    Example:
      mra provision rekey
    """
    from mra.enrol.keys import replace_identity_key
    from mra.lock import daemon_lock
    from mra.settings import read_settings

    settings = read_settings(config)
    where = _enrolling(settings)
    try:
        with daemon_lock(settings.lock):
            keys = replace_identity_key(where.directory)
    except Busy as error:
        raise Busy("The daemon runs: stop it before its key is changed.") from error
    if as_json:
        show.print_json({"public_key": keys.identity.public})
    else:
        click.echo(f"The identity key is now {keys.identity.public}; start the agent to tell the SaaS.")


def _enrolling(settings: Settings) -> EnrolSettings:
    if settings.enrol is None:
        raise BadInput(f"{settings.file} says how to reach the SaaS (saas.urls), so this node does not enrol.")
    return settings.enrol


def _readable(document: dict[str, Any]) -> dict[str, object]:
    enrolment, token, daemon = document["enrolment"] or {}, document["token"], document["daemon"]
    found: dict[str, object] = {"State": _MEANING[document["standing"]], "Node": document["identity"]}
    if enrolment:
        found |= {
            "Customer": enrolment["customer"],
            "Role": enrolment["role"] or None,
            "SaaS": ", ".join(enrolment["urls"]),
            "Valid until": _moment(enrolment["expires"]),
        }
    known = f"{token['id']}, until {_moment(token['expires'])}" if "id" in token else token["file"]
    found["Token"] = f"{known}: {token['problem']}" if token["problem"] else known
    found["Identity key"] = document["public_key"]
    found["User key"] = document["public_nkey"]
    if daemon is None:
        found["Daemon"] = "not running"
    else:
        found["Daemon"] = daemon["state"] + (f", {daemon['attempts']} attempts" if daemon["attempts"] else "")
        found["Last error"] = daemon["last_error"]
    return found


def _moment(second: int) -> str:
    return show.moment(second * 1_000_000_000)
