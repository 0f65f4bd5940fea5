"""`mra submit`: accept records from the shell, with the daemon up or down."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mra.cli import show
from mra.cli.options import LANE, agent_options, config_option, json_option
from mra.errors import BadInput, MraError
from mra.outbox.record import LARGEST_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import BufferedIOBase

    from mra.outbox.record import Draft, Receipt
    from mra.settings import Settings
    from mra.submit.message import Submission

_GROUP = 1000  # records in one commit
_PIECE = 64 * 1024  # bytes read at once


@click.command()
@config_option
@json_option
@click.argument("subject")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--lane", type=LANE, default="submissions", show_default=True, help="Lane that takes the record.")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="NAME=VALUE", help="Header to send along; repeatable."
)
@click.option("--id", "id_", help="Name of the submission: the same id is accepted once, so a retry is safe.")
@click.option("--ttl", help="Give up on it after this much uptime of the host, such as 24h.")
@click.option("--reliable", is_flag=True, help="Tell consumers that the sender counts on delivery.")
@click.option("--priority", type=click.IntRange(0, 4), help="For consumers: 0 is first, 4 is last and the default.")
@click.option("--tries", type=click.IntRange(1), help="Accepted for compatibility: the agent never gives up by count.")
@click.option("--sender", help="Who submits; through the socket the agent names the user itself.")
@click.option("--key", help="Key for lanes that keep the newest record of each key.")
@click.option("--lines", is_flag=True, help="Accept every line of FILE as a record of its own.")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    envvar="MRA_SUBMIT_SOCKET",
    show_envvar=True,
    help="Hand it to the agent through this socket, without looking at the configuration.",
)
def submit(
    config: Path, as_json: bool, subject: str, file: Path, lane: str, headers: tuple[str, ...], id_: str | None,
    ttl: str | None, reliable: bool, priority: int | None, tries: int | None, sender: str | None, key: str | None,
    lines: bool, socket: Path | None,
) -> None:  # fmt: skip
    """Accept FILE (or standard input) as a submission on SUBJECT and print its id.

    A record whose id is printed is on disk and will be delivered, whatever happens to this host short of losing the
    disk. Exit code 75 means that there was no room or no answer: submit again what has no id printed. With --lines
    records are accepted and their ids printed as they come. A user who may not write the outbox is served by the
    running daemon, through its submission socket.

    \b
    Examples:
      mra submit app.orders order.json --reliable
      date | mra submit app.heartbeat --ttl 1h
      mra submit app.readings readings.ndjson --lines
    """
    from mra.outbox.record import Draft, Lane, new_id
    from mra.settings import read_settings
    from mra.submit.message import LOWEST_PRIORITY, Submission
    from mra.units import parse_duration

    if lines and id_:
        raise BadInput("--id names one record and --lines makes many: leave one of them out.")
    lifetime = None if ttl is None else parse_duration(ttl, "--ttl")
    parsed = _headers(headers)
    plain = lane != Lane.SUBMISSIONS
    if plain and (reliable or sender or tries is not None or priority is not None):
        raise BadInput("--reliable, --priority, --tries and --sender belong to submissions: leave them or --lane out.")
    settings = None if socket else read_settings(config, secrets=False)
    through = socket or (settings.submit.path if settings and not _may_write(settings.database) else None)
    if through and (plain or key):
        raise BadInput(f"Only submissions without a key pass {through}: leave --lane and --key out.")

    def submission(body: bytes) -> Submission:
        urgency = LOWEST_PRIORITY if priority is None else priority
        return Submission(subject, body, reliable, lifetime, urgency, tries, parsed, sender, id_ or new_id())

    groups = _groups(file, lines)
    if through:
        accepted = _hand_over(through, (submission(body) for group in groups for body in group))
    else:
        assert settings is not None
        if plain:
            drafts = (
                [Draft(Lane(lane), subject, body, parsed, key, id_, lifetime) for body in group] for group in groups
            )
        else:
            record = _recorder(settings)
            drafts = ([record(submission(body))._replace(key=key) for body in group] for group in groups)
        accepted = _accept(settings, drafts)
    if not _tell(accepted, as_json):
        raise BadInput(f"{file} holds no records: give at least one line.")


def _tell(accepted: Iterator[Receipt], as_json: bool) -> int:
    """Print each receipt as it comes, for only what is printed counts as accepted; return how many there were."""
    count = 0
    try:
        for receipt in accepted:
            count += 1
            if as_json:
                lane, seq, id_, repeated = receipt
                show.print_json_lines([{"lane": lane.value, "seq": seq, "id": id_, "repeated": repeated}])
            else:
                click.echo(receipt.id)
    except MraError:
        if count:
            click.echo(f"{agent_options().name}: {count} records are accepted, those whose ids are printed.", err=True)
        raise
    return count


def _groups(file: Path, lines: bool) -> Iterator[list[bytes]]:
    """What to accept, in groups of one commit each: one record, or lines as soon as they are there."""
    try:
        standard = cast("BufferedIOBase", sys.stdin.buffer)
        with nullcontext(standard) if str(file) == "-" else file.open("rb") as stream:
            if lines:
                yield from _lines(stream)
            else:
                yield [_whole(stream)]
    except OSError as error:
        raise BadInput(f"Cannot read {file} ({error.strerror}): check the path.") from error


def _whole(stream: BufferedIOBase) -> bytes:
    body = stream.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise BadInput(f"The record has more than {LARGEST_BODY} bytes: no server takes it, so split it.")
    return body


def _lines(stream: BufferedIOBase) -> Iterator[list[bytes]]:
    """Lines without their ends, empty ones left out."""
    begun: list[bytes] = []  # pieces of a line whose end has not come yet
    while piece := stream.read1(_PIECE):
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            whole = [line for line in (b"".join(begun), *others[:-1]) if line.strip(b"\r")]
            begun = others[-1:]
            for start in range(0, len(whole), _GROUP):
                yield [line.removesuffix(b"\r") for line in whole[start : start + _GROUP]]
        elif sum(map(len, begun)) > LARGEST_BODY:
            raise BadInput(f"A line has more than {LARGEST_BODY} bytes: no server takes such a record, so split it.")
    if last := b"".join(begun).removesuffix(b"\r"):
        yield [last]


def _headers(texts: tuple[str, ...]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--header {text!r} has no equals sign: write NAME=VALUE.")
        if name.lower().startswith(("nats-", "mra-")):
            raise BadInput(f"Header {name} is reserved: choose a name that does not start with Nats- or Mra-.")
        headers[name] = value
    return headers


def _may_write(database: Path) -> bool:
    """Whether this user may write the outbox, or make it; false as well when its directory cannot be entered."""
    if os.path.exists(database):
        return os.access(database, os.R_OK | os.W_OK) and os.access(database.parent, os.W_OK | os.X_OK)
    place = database.parent
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return os.access(place, os.W_OK | os.X_OK)


def _recorder(settings: Settings) -> Callable[[Submission], Draft]:
    """Turns submissions into records as the daemon does, so that one id of one user is one record either way."""
    from mra.clock import now
    from mra.submit.message import draft_of

    uid, wall_ns, limit = os.geteuid(), now().wall, settings.submit.max_payload
    name = f"user {_user_name(uid)}"

    def record(submission: Submission) -> Draft:
        sender = submission.sender or name
        return draft_of(
            submission, identity=settings.name, sender=sender, scope=str(uid), wall_ns=wall_ns, max_payload=limit
        )

    return record


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def _hand_over(socket: Path, submissions: Iterable[Submission]) -> Iterator[Receipt]:
    """Submit one after the other."""
    from mra.submit import submit_over_socket

    for submission in submissions:
        yield submit_over_socket(socket, submission)


def _accept(settings: Settings, groups: Iterable[list[Draft]]) -> Iterator[Receipt]:
    """Accept each group in a transaction of its own."""
    from mra.cli.outbox_access import reporting_damage
    from mra.clock import now
    from mra.control import poke_daemon
    from mra.outbox.opening import open_beside
    from mra.outbox.store import Request, accept

    with reporting_damage(settings), open_beside(settings.database, settings.outbox) as guest:
        is_told = False
        for drafts in groups:
            [outcome] = accept(guest.connection, guest.path, [Request(drafts)], settings.outbox, now())
            if isinstance(outcome, Exception):
                raise outcome
            guest.confirm()
            yield from outcome
            if not is_told:  # the daemon looks by itself every second: a poke is for the first record to go at once
                is_told = True
                poke_daemon(settings.socket)
