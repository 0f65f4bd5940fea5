"""`mra reset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import config_option, json_option
from mra.errors import Busy, MraError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@click.command()
@config_option
@json_option
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option("--discard", is_flag=True, help="Destroy rows that the SaaS does not have.")
def reset(config: Path, as_json: bool, force: bool, discard: bool) -> None:
    """Forget identity, credentials, outbox and machines of this node; keep its configuration and provisioning token.

    Refused while the daemon runs, and while rows wait for the SaaS, unless they are to be discarded. Afterwards the
    node has new keys: before it can enrol under the same name, the SaaS has to forget the old ones.

    \b
    Examples:
      mra outbox export rows.jsonl
      mra reset --discard
      mra reset --force
    """
    from mra.lock import daemon_lock
    from mra.resetting import held_rows, remove_state
    from mra.settings import read_settings

    settings = read_settings(config, secrets=False)
    try:
        with daemon_lock(settings.lock):
            held = _held(lambda: held_rows(settings), discard)
            if sum(held.values()) and not discard:
                counts = ", ".join(f"{count:,} {lane}" for lane, count in held.items() if count)
                raise Refused(
                    f"The SaaS does not have {sum(held.values()):,} rows ({counts}): let the agent deliver them, or "
                    "`mra outbox export FILE` first and then `mra reset --discard`."
                )
            if not force:
                lost = f" and {sum(held.values()):,} rows that the SaaS does not have" if sum(held.values()) else ""
                click.confirm(f"Forget the identity in {settings.state}{lost}?", abort=True, err=True)
            removed = remove_state(settings)
    except Busy as error:
        raise Busy(f"{error.sentence.rstrip('.').partition(':')[0]}: stop it before it is reset.") from error
    if as_json:
        show.print_json({"removed": [str(path) for path in removed], "discarded": held})
        return
    for path in removed:
        click.echo(f"removed {path}")
    click.echo(f"{sum(held.values()):,} rows were discarded." if sum(held.values()) else "Nothing was lost.")


def _held(count: Callable[[], dict[str, int]], discard: bool) -> dict[str, int]:
    """What is held; an outbox that cannot be counted counts as empty for who discards it anyway."""
    try:
        return count()
    except MraError:
        if discard:
            return {}
        raise
