"""`mra saas plugins ...`: which machines a customer's agents run, signed."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.cli.saas_config import read_input
from mra.cli.saas_pack import plugins_pack
from mra.errors import BadInput

if TYPE_CHECKING:
    from mra.aio.session import Session
    from mra.machines.spec import Document

KEY = "machines"

seed_option = click.option(
    "--seed",
    "seed_file",
    type=click.Path(path_type=Path),
    required=True,
    help="File with the ed25519 seed: 64 hex digits or 32 bytes, readable by its owner only.",
)


@click.group()
def plugins() -> None:
    """The signed list of machines that a customer's agents deploy.

    \b
    Examples:
      mra saas plugins pack ./pump --into /srv/plugins --base-url https://plugins.example/ > plugins.json
      mra saas plugins sign plugins.json --seed signer.seed > signed.json
      mra saas plugins publish acme signed.json
      mra saas plugins rollback acme --seed signer.seed
    """


plugins.add_command(plugins_pack)


def read_seed(file: Path) -> bytes:
    """The 32 bytes of an ed25519 seed. Raises BadInput for anything else, and for a file that others can read."""
    try:
        with file.open("rb") as source:
            mode = os.fstat(source.fileno()).st_mode
            raw = source.read(4096)
    except OSError as error:
        raise BadInput(f"Cannot read the seed {file} ({error.strerror}): check --seed.") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise BadInput(f"The seed {file} can be read by others: keep it in a regular file and `chmod 600` it.")
    if len(raw) == 32:
        return raw
    try:
        seed = bytes.fromhex(raw.decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise BadInput(f"The seed {file} is no ed25519 seed: it holds 64 hex digits or 32 bytes.")
    return seed


def public_half(seed: bytes) -> str:
    """The public key in hex, as agents are configured with it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()


@plugins.command("sign")
@seed_option
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--serial", type=click.IntRange(0, 10**18 - 1), help="Default: seconds since 1970.")
@click.option("--without-serial", is_flag=True, help="Leave the serial out; agents then tell old from new by memory.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write here instead of standard output.")
def plugins_sign(seed_file: Path, file: Path, serial: int | None, without_serial: bool, output: Path | None) -> None:
    """Sign FILE, a JSON list of plugins, and print the specification.

    Each plugin has `name`, `source`, `checksum` and `verify_checksum`, and may have `username`, `password`, `match` and
    `governor`. Agents refuse a serial that is not greater than the last one they accepted.

    \b
    Example:
      mra saas plugins sign plugins.json --seed plugins.seed -o signed.json
    """
    import msgspec

    from mra.machines import spec

    if without_serial and serial is not None:
        raise BadInput("--serial and --without-serial exclude each other: give one of them.")
    seed = read_seed(seed_file)
    try:
        listed = msgspec.json.decode(read_input(file), type=list[spec.Plugin])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is no JSON list of plugins ({error}): see `mra saas plugins sign --help`.") from error
    number = None if without_serial else int(time.time()) if serial is None else serial
    signed = spec.sign(listed, seed, number)
    if output is None:
        click.echo(signed)
    else:
        try:
            output.write_bytes(signed + b"\n")
        except OSError as error:
            raise BadInput(f"Cannot write {output} ({error.strerror}): check --output.") from error
    click.echo(f"Signed {len(listed)} plugins with serial {number}; public key {public_half(seed)}.", err=True)


@plugins.command("publish")
@access_options
@json_option
@click.argument("customer")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
def plugins_publish(reach: Reach, as_json: bool, customer: str, file: Path) -> None:
    """Publish FILE, a signed specification, for all agents of CUSTOMER.

    What their agents would refuse for its form or its serial is refused here. The signature is theirs to judge: they
    know the key.

    \b
    Example:
      mra saas plugins publish acme signed.json
    """
    from mra.cli.plugin_lists import check_newer, newest
    from mra.machines import spec
    from mra.saas import config

    account = reach.customer(customer)
    raw = read_input(file)
    document = spec.parse(raw)
    names = [plugin.name for plugin in spec.entries(document.plugins)]
    if not document.signature:
        raise BadInput(f"{file} is not signed: run `mra saas plugins sign` first.")

    async def work(session: Session) -> int:
        check_newer(document, newest(await config.history(session, account, KEY)))
        return await config.put(session, account, KEY, raw.strip())

    revision = with_session(reach.access(), work)
    _say(as_json, customer, revision, document, names)


@plugins.command("rollback")
@access_options
@json_option
@seed_option
@click.argument("customer")
@click.option("--to", "revision", type=int, help="Revision to bring back; default: the last one with another list.")
def plugins_rollback(
    reach: Reach, as_json: bool, seed_file: Path, customer: str,
    revision: int | None,
) -> None:  # fmt: skip
    """Publish an earlier list of CUSTOMER again, signed anew with a greater serial.

    The bucket keeps the last five; `mra saas plugins ls CUSTOMER --history` shows them. Running this twice goes back
    and forth.

    \b
    Example:
      mra saas plugins rollback acme --seed plugins.seed
    """
    from mra.cli.plugin_lists import earlier, newest
    from mra.machines import spec
    from mra.saas import config

    account = reach.customer(customer)
    seed = read_seed(seed_file)

    async def work(session: Session) -> tuple[int, Document]:
        history = await config.history(session, account, KEY)
        target = earlier(history, revision)
        last = newest(history)
        serial = max(int(time.time()), int(last.serial) + 1 if last and last.serial else 0)
        signed = spec.sign(spec.entries(target.plugins), seed, serial)
        return await config.put(session, account, KEY, signed), spec.parse(signed)

    published, document = with_session(reach.access(), work)
    _say(as_json, customer, published, document, [plugin.name for plugin in spec.entries(document.plugins)])


@plugins.command("ls")
@access_options
@json_option
@click.argument("customer")
@click.option("--history", "with_history", is_flag=True, help="The lists that can be brought back, newest last.")
def plugins_ls(reach: Reach, as_json: bool, customer: str, with_history: bool) -> None:
    """List what the agents of CUSTOMER shall deploy; passwords are not shown.

    \b
    Example:
      mra saas plugins ls acme --history
    """
    from mra.cli.plugin_lists import picture
    from mra.saas import config

    account = reach.customer(customer)
    history = with_session(reach.access(), lambda session: config.history(session, account, KEY))
    rows = [picture(entry) for entry in history]
    if with_history:
        if as_json:
            show.print_json(rows)
            return
        show.table(
            ("Revision", "Written", "Serial", "Plugins"),
            [(row["revision"], row["written"], row["serial"], row["problem"] or _names(row)) for row in rows],
            empty=f"Nothing was ever published for {customer}.",
        )
        return
    current: dict[str, Any] = rows[-1] if rows else {"revision": 0, "serial": None, "plugins": [], "problem": None}
    if as_json:
        show.print_json(current)
        return
    if current["problem"]:
        click.echo(f"Revision {current['revision']}: {current['problem']}.")
        return
    show.table(
        ("Name", "Source", "For nodes", "Governor", "SHA-256"),
        [
            (found["name"], found["source"], found["match"] or "all", found["governor"], found["checksum"][:12])
            for found in current["plugins"]
        ],
        empty=f"The agents of {customer} shall deploy nothing.",
    )


def _names(picture: dict[str, Any]) -> str:
    return ", ".join(plugin["name"] for plugin in picture["plugins"]) or "(none)"


def _say(as_json: bool, customer: str, revision: int, document: Document, names: list[str]) -> None:
    if as_json:
        serial = document.serial
        show.print_json({"customer": customer, "revision": revision, "serial": serial, "plugins": names})
    else:
        click.echo(f"{customer} shall deploy {', '.join(names) or 'nothing'} (revision {revision}).")
