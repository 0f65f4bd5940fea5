"""`mra saas import` and `mra saas sealing-key`: taking deliveries that come by file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.cli.saas_access import Reach, access_options, with_session
from mra.errors import BadInput, Refused

if TYPE_CHECKING:
    from mra.aio.session import Session
    from mra.outbox.record import Lane
    from mra.saas.registry import Customer
    from mra.sealed.delivery import LaneOutcome
    from mra.sealed.keys import SealingSecret
    from mra.sealed.reading import SealedFile, Verified

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="The sealing key, made by `mra saas sealing-key`.")
@click.option("--customer", help="Whose rows they are; needed where the file or its site does not say.")
@click.option("--signer", help="Ed25519 public key (hex) that must have signed the file: the node's.")
@click.option("--unsigned", is_flag=True, help="Take a file whoever made it: the sealing key's public half suffices.")
@click.option(
    "--adopt", is_flag=True, help="The site was installed anew, and the former installation is gone for good."
)
@click.option("--ack", type=_FILE, help="Write an acknowledgement to this file, for `mra outbox settle` at the site.")
@access_options
@json_option
def import_(
    reach: Reach, file: Path, key: Path, customer: str | None, signer: str | None, unsigned: bool, adopt: bool,
    ack: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Store the rows of a sealed FILE, made by `mra outbox export --sealed`, as if the site had come online.

    The file is verified whole first. Rows that the SaaS holds already are skipped, so importing again, or after the
    site came online, stores nothing twice; a file that comes before its predecessor is refused.

    \b
    Examples:
      mra saas import site1.sealed --key seal.key --saas /srv/saas --signer 8a88e3dd...
      mra saas import site1.sealed --key seal.key --customer acme --unsigned --ack site1.ack
    """
    from mra.sealed.delivery import Target, import_sealed
    from mra.sealed.reading import open_sealed

    if bool(signer) == unsigned:
        raise BadInput("Who made the file: give --signer with the node's public key, or --unsigned to take anyone's.")
    secret = _read_key(key)
    with open_sealed(file, secret) as sealed:
        with show.progress("Verifying", enabled=not as_json) as report:
            verified = sealed.verify(report)
        _check_signer(verified, signer)
        target = Target(_customer(reach, sealed, customer), adopt)

        async def work(session: Session) -> dict[Lane, LaneOutcome]:
            with show.progress("Storing", enabled=not as_json) as report:
                return await import_sealed(session, sealed, verified, target, progress=report)

        outcomes = with_session(reach.access(), work)
        if ack is not None:
            _write_ack(ack, sealed, target.customer, outcomes, secret)
    _print(sealed, target.customer, outcomes, as_json)


def _read_key(file: Path) -> SealingSecret:
    from mra.credentials import read_secret
    from mra.sealed.keys import SealingSecret

    return SealingSecret.parse(read_secret(file))


def _check_signer(verified: Verified, wanted: str | None) -> None:
    from mra.tokens import ed25519

    if wanted is None:
        return
    if verified.signer is None:
        raise Refused("The file is not signed: have the site sign it, or take it with --unsigned.")
    if ed25519.check_public(wanted) != verified.signer:
        raise Refused(f"The file is signed by {verified.signer}, not by {wanted}: it is another node's.")


def _customer(reach: Reach, sealed: SealedFile, given: str | None) -> str:
    said = sealed.header.customer
    if not (given or said):
        raise BadInput("The file does not say whose rows it holds: give --customer.")
    customer = reach.customer(given or said)
    if said and reach.customer(said) != customer:
        raise Refused(
            f"The file is of customer {said}, not of {given}: leave --customer away, or look for another file."
        )
    if reach.home:
        _check_standing(reach.registry().get(customer), sealed.header.agent)
    return customer


def _check_standing(customer: Customer, node: str) -> None:
    """What a node may not send over the link, it may not send by courier either. Raises Refused."""
    if customer.suspended:
        raise Refused(f"Customer {customer.name} is suspended: resume it before its files are taken.")
    if node in customer.denied_nodes:
        raise Refused(f"Node {node} of {customer.name} is denied: `mra saas customer allow` takes that back.")


def _write_ack(
    path: Path, sealed: SealedFile, customer: str, outcomes: dict[Lane, LaneOutcome], secret: SealingSecret
) -> None:
    from mra.durable import replacement
    from mra.sealed.acknowledgement import write_answer

    checkpoints = {lane: outcome.checkpoint for lane, outcome in outcomes.items()}
    try:
        with replacement(path) as out:
            out.write(write_answer(sealed.header, customer, checkpoints, secret))
    except OSError as error:
        raise BadInput(
            f"The rows are stored, but {path} cannot be written ({error.strerror}): import again with another --ack."
        ) from error


def _print(sealed: SealedFile, customer: str, outcomes: dict[Lane, LaneOutcome], as_json: bool) -> None:
    header = sealed.header
    lanes: list[dict[str, Any]] = [
        {
            "lane": lane.value,
            "rows": outcome.rows,
            "stored": outcome.stored,
            "skipped": outcome.rows - outcome.stored,
            "through_seq": outcome.checkpoint.checkpoint.through_seq if outcome.checkpoint else None,
        }
        for lane, outcome in outcomes.items()
    ]
    if as_json:
        show.print_json({"file": header.file, "agent": header.agent, "customer": customer, "lanes": lanes})
        return
    show.table(
        ("Lane", "Rows", "Stored", "There before", "Through"),
        [(one["lane"], one["rows"], one["stored"], one["skipped"], one["through_seq"]) for one in lanes],
        empty="No lanes.",
    )


@click.command("sealing-key")
@click.argument("file", type=_FILE)
@json_option
def sealing_key(file: Path, as_json: bool) -> None:
    """Make the key that sites seal their files to, in FILE (mode 0600), and print its public half.

    Sites get the printed text as saas.sealing_key in their settings. An existing FILE is kept, and its public half
    printed again.

    \b
    Example:
      mra saas sealing-key /srv/saas/keys/seal.key
    """
    from mra.durable import replace_file
    from mra.sealed.keys import SealingSecret

    made = not file.exists()
    secret = SealingSecret.generate() if made else _read_key(file)
    if made:
        try:
            replace_file(file, f"{secret.text}\n".encode())
        except OSError as error:
            raise BadInput(f"Cannot write {file} ({error.strerror}): choose another place.") from error
    if as_json:
        show.print_json({"file": str(file), "made": made, "public": str(secret.public)})
        return
    click.echo(str(secret.public))
