"""`mra outbox export --sealed` and `mra outbox settle`: delivery by file, for sites that never come online."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mra.cli import show
from mra.cli.options import actor, config_option, json_option
from mra.cli.outbox_access import reading, writing
from mra.errors import BadInput, Refused
from mra.outbox import inspection, sqlite
from mra.outbox.record import Lane
from mra.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mra.sealed.export import Exported, Sender
    from mra.sealed.keys import SealingKey
    from mra.settings import Settings
    from mra.tokens.ed25519 import SigningKey

T = TypeVar("T")
_KEY_HELP = "File with the SaaS's sealing key.  [default: saas.sealing_key]"


def export_sealed(
    config: Path, out: Path, *, lane: str | None, everything: bool, to: Path | None, sign: Path | None, as_json: bool
) -> None:
    """What `mra outbox export --sealed` does. Raises what `mra.sealed.export` raises, BadInput without a key."""
    from mra.sealed import export

    settings = _site(config)
    key = _sealing_key(settings, to)
    sender = _sender(settings, sign)
    lanes = [Lane(lane)] if lane else list(Lane)

    def work() -> Exported:
        with writing(config) as connection, show.progress("Sealing rows", enabled=not as_json) as report:
            return export.export_sealed(
                connection, out, sender, key, hold=settings.outbox.export_hold, lanes=lanes, everything=everything,
                progress=report,
            )  # fmt: skip

    done = _despite_a_full_disk(settings, work)
    if as_json:
        ranges = {
            part.lane: {"rows": done.rows[part.lane], "first_seq": part.first_seq, "through_seq": part.through_seq}
            for part in done.parts
        }
        show.print_json({"file": done.file, "path": str(out), "signed": sender.signer is not None, "lanes": ranges})
        return
    click.echo(f"{sum(done.rows.values())} rows sealed in {out}; they go on waiting here until the SaaS has them.")
    if sender.signer is None:
        click.echo("It is not signed: this node has no key of its own (see --sign).", err=True)


@click.command()
@config_option
@json_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help=_KEY_HELP)
def settle(config: Path, as_json: bool, file: Path, key: Path | None) -> None:
    """Settle the rows that an acknowledgement in FILE proves to be stored, as if the SaaS had answered over the link.

    It must be signed by the SaaS, be for this agent, and answer a file that was exported here and not answered yet; any
    other is refused, and changes nothing.

    \b
    Example:
      mra outbox settle /media/stick/site1.ack
    """
    from mra.control import poke_daemon
    from mra.sealed import acknowledgement

    settings = _site(config)
    try:
        with file.open("rb") as source:
            raw = source.read(acknowledgement.LARGEST)
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path and its owner.") from error
    answer = acknowledgement.read_answer(raw, _sealing_key(settings, key))

    def work() -> dict[Lane, acknowledgement.Settled]:
        with writing(config) as connection:
            return acknowledgement.settle(connection, answer, agent=settings.name, customer=settings.customer or "")

    done = _despite_a_full_disk(settings, work)
    poke_daemon(settings.socket)
    if as_json:
        lanes = {lane.value: one._asdict() for lane, one in done.items()}
        show.print_json({"file": answer.file, "lanes": lanes})
        return
    for lane, one in done.items():
        click.echo(f"{lane}: {one.rows} rows delivered, up to row {one.through_seq}.")
    if not done:
        click.echo("Everything in it was known already; the file is answered.")


@click.command()
@config_option
@json_option
def exports(config: Path, as_json: bool) -> None:
    """List sealed files that no answer has come for, oldest first.

    Their rows are kept from every policy for outbox.export_hold, counted from the oldest of a lane's files; "Kept" says
    whether they still are.

    \b
    Example:
      mra outbox exports
    """
    with reading(config) as connection:
        found = inspection.exports(connection)
    if as_json:
        show.print_json_lines(found)
        return
    show.table(
        ("File", "Lane", "From", "To", "Exported", "Kept"),
        [
            (r["file"], r["lane"], r["first_seq"], r["through_seq"], show.moment(r["wall"]), bool(r["kept"]))
            for r in found
        ],
        empty="No file waits for an answer.",
    )


def _despite_a_full_disk(settings: Settings, work: Callable[[], T]) -> T:
    """Run `work`; when the outbox's disk is full, give up the ballast for it, as the agent does for its deliveries."""
    from mra.outbox.outbox import ballast_of

    try:
        return work()
    except sqlite.DiskFull:
        if not ballast_of(settings.database, settings.outbox).release():
            raise
        return work()


def _site(config: Path) -> Settings:
    """The settings that the agent runs by. Raises Refused for a node that has no name yet."""
    settings = read_settings(config)  # with the credentials, which may say who the customer is
    if settings.enrol is None:
        return settings
    from mra.settings.enrolled import usable_enrolment, with_enrolment

    enrolment, _ = usable_enrolment(settings, time.time())
    if enrolment is None:
        raise Refused("This node is not enrolled, so the SaaS would not know whose rows these are: enrol it first.")
    return with_enrolment(settings, enrolment)


def _sealing_key(settings: Settings, file: Path | None) -> SealingKey:
    from mra.credentials import read_text

    if file is not None:
        return _parse_key(read_text(file), str(file))
    if not settings.sealing_key:
        raise BadInput(
            f"{settings.file} names no saas.sealing_key: write the text there that `mra saas sealing-key` printed, or"
            " name a file with it."
        )
    return _parse_key(settings.sealing_key, f"{settings.file}: saas.sealing_key")


def _parse_key(text: str, where: str) -> SealingKey:
    from mra.sealed.keys import SealingKey

    try:
        return SealingKey.parse(text)
    except BadInput as error:
        raise BadInput(f"{where}: {error.sentence}") from error


def _sender(settings: Settings, sign: Path | None) -> Sender:
    from mra.sealed.export import Sender

    return Sender(settings.name, settings.customer or "", _signer(settings, sign), actor())


def _signer(settings: Settings, sign: Path | None) -> SigningKey | None:
    from mra.credentials import read_secret
    from mra.enrol.keys import load_keys
    from mra.tokens.ed25519 import SigningKey

    if sign is not None:
        try:
            return SigningKey.from_seed(read_secret(sign))
        except Refused as error:
            raise BadInput(f"{sign}: {error.sentence}") from error
    keys = load_keys(settings.enrol.directory) if settings.enrol else None
    return keys.identity if keys else None
