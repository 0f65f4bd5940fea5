"""`mra site ...`: the nodes of a site, and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import config_option, json_option
from mra.errors import BadInput, Unavailable
from mra.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_HOST = click.option(
    "--host", "hosts", multiple=True, default=("127.0.0.1",), show_default=True,
    help="Name or address by which followers reach the bus; repeatable.",
)  # fmt: skip


@click.group()
def site() -> None:
    """Make the keys of a site, let nodes follow, and see who does.

    \b
    Examples:
      mra site init /var/lib/mra/site --host n1.example
      mra site add-follower /var/lib/mra/site n2 --out n2-keys
      mra site ls
    """


@site.command("init")
@click.argument("directory", type=_DIRECTORY)
@_HOST
@json_option
def init(directory: Path, hosts: Sequence[str], as_json: bool) -> None:
    """Make a site's authority and its leader's keys in DIRECTORY; what is there already stays.

    \b
    Example:
      mra site init /var/lib/mra/site --host n1.example --host 10.0.0.1
    """
    from mra.site import keys

    _tell({"directory": str(directory), "made": keys.make_site(directory, hosts)}, as_json)


@site.command("add-follower")
@click.argument("directory", type=_DIRECTORY)
@click.argument("name")
@click.option("--nkey", help="Public key of the node, which then has made its key itself.")
@click.option("--out", type=_DIRECTORY, help="Where to write what the node needs; without it, nothing is written.")
@json_option
def add_follower(directory: Path, name: str, nkey: str | None, out: Path | None, as_json: bool) -> None:
    """Let the node NAME follow the leader whose keys are in DIRECTORY. A running leader lets it in within seconds.

    \b
    Examples:
      mra site add-follower /var/lib/mra/site n2 --out n2-keys
      mra site add-follower /var/lib/mra/site n3 --nkey UDXY...
    """
    from mra.site import keys

    if (nkey is None) == (out is None):
        raise BadInput("Give --out for a key that is made here, or --nkey for the key of the node: one of the two.")
    made = keys.add_follower(directory, name, nkey)
    if out:
        keys.write_files(out, made.files())
    _tell({"follower": name, "directory": str(out) if out else None, "made": sorted(made.files())}, as_json)


@site.command("remove-follower")
@click.argument("directory", type=_DIRECTORY)
@click.argument("name")
def remove_follower(directory: Path, name: str) -> None:
    """Let the node NAME follow no more; a running leader drops its connection within seconds.

    What it had handed over without settling it stays with the leader: see `mra site deliver`.

    \b
    Example:
      mra site remove-follower /var/lib/mra/site n2
    """
    from mra.site import keys

    keys.remove_follower(directory, name)
    click.echo(f"{name} is let in no more")


@site.command("deliver")
@click.argument("name")
@config_option
@json_option
def deliver(name: str, config: Path, as_json: bool) -> None:
    """Deliver rows that the node NAME handed over to this leader and will never settle, because it does not come back.

    Not for a node that may come back: it may have given them to another leader, and they would stand twice at the SaaS.

    \b
    Example:
      mra site deliver n2
    """
    from mra.control import ask_daemon
    from mra.settings import read_settings

    rows = ask_daemon(read_settings(config, secrets=False).socket, "site.deliver", {"follower": name})
    if as_json:
        show.print_json({"follower": name, "rows": rows})
    else:
        click.echo(f"{rows} rows of {name} are this leader's to deliver now")


@site.command("add-leader")
@click.argument("directory", type=_DIRECTORY)
@click.argument("name")
@click.option("--out", type=_DIRECTORY, required=True, help="Where to write what the node needs.")
@_HOST
@json_option
def add_leader(directory: Path, name: str, out: Path, hosts: Sequence[str], as_json: bool) -> None:
    """Make the keys of the node NAME, which follows the leader of DIRECTORY and may lead after it.

    Followers that are added later are to be added in its directory too.

    \b
    Example:
      mra site add-leader /var/lib/mra/site n2 --host n2.example --out n2-keys
    """
    from mra.site import keys

    made = keys.prepare_leader(directory, hosts) | keys.add_follower(directory, name).files()
    keys.write_files(out, made)
    for follower, public in keys.roster(directory).items():
        keys.add_follower(out, follower, public)
    _tell({"leader": name, "directory": str(out), "made": sorted(made)}, as_json)


@site.command("ls")
@config_option
@json_option
def ls(config: Path, as_json: bool) -> None:
    """Show this node's role, and at a leader each follower: last contact, what waits there, what is unsettled here.

    \b
    Examples:
      mra site ls
      mra site ls --json | jq .followers
    """
    from mra.control import ask_daemon
    from mra.settings import read_settings

    settings = read_settings(config, secrets=False)
    document = ask_daemon(settings.socket, "site")
    if document is None:
        raise Unavailable("This node stands alone: its configuration has no [site].")
    if as_json:
        show.print_json(document)
        return
    show.pairs(summary(document))
    if document["role"] == "leader" or document["followers"]:
        print_followers(document)


def print_followers(document: dict[str, Any]) -> None:
    """A leader's followers: last contact and lag."""
    show.table(
        ("Follower", "Last contact", "Waiting", "Taken", "Unsettled", "Last error"),
        [
            (
                name, "-" if one["last_contact"] is None else f"{show_duration(one['last_contact'])} ago",
                one["waiting"], one["taken"], one["unsettled"], one["last_error"],
            )
            for name, one in document["followers"].items()
        ],
        empty="No followers.",
    )  # fmt: skip


def summary(document: dict[str, Any]) -> dict[str, object]:
    """The node's place in a line."""
    text = f"{document['role']}, term {document['term']}"
    if document["role"] == "leader":
        return {"Site": f"{text}, {len(document['followers'])} followers"}
    return {"Site": f"{text}, led by {document['leader'] or 'nobody known'}"}


def _tell(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.print_json(document)
        return
    for name in document["made"]:
        click.echo(f"made {name}" + (f" in {document['directory']}" if document["directory"] else ""))
