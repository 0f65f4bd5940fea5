"""`mra saas plugins pack`: from directories of machines to archives and the list that is signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mra.cli import show
from mra.cli.options import agent_options
from mra.errors import BadInput, Refused

if TYPE_CHECKING:
    from mra.machines.archives.pack import Packed


@click.command("pack")
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory that the HTTP server serves; archives are called NAME-VERSION.tgz.",
)
@click.option("--base-url", required=True, help="Where agents find that directory, such as https://plugins.example/.")
def plugins_pack(directories: tuple[Path, ...], into: Path, base_url: str) -> None:
    """Pack machines, each in one of DIRECTORIES, and print the list of plugins, ready to be signed.

    A machine that could not run is refused, and so is another content under the name of an archive that is there.

    \b
    Example:
      mra saas plugins pack ./pump ./tank --into /srv/plugins --base-url https://plugins.example/ > plugins.json
    """
    from mra.machines.archives.pack import pack
    from mra.machines.archives.source import web_address
    from mra.machines.manifest import load_manifest
    from mra.machines.watchers.registry import registry

    kinds = registry(agent_options().watchers)
    base = base_url.rstrip("/")
    web_address(base)
    listed = []
    for directory in directories:
        packed = pack(directory)
        file = directory / "machine.yaml"
        version = load_manifest(file.read_bytes(), str(file), kinds).version
        archive = f"{packed.name}-{version}.tgz"
        _write(into / archive, packed)
        listed.append(
            {
                "name": packed.name,
                "source": f"{base}/{archive}",
                "checksum": packed.checksum,
                "verify_checksum": packed.verify_checksum,
            }
        )
    show.print_json(listed)


def _write(file: Path, packed: Packed) -> None:
    """Raises BadInput, and Refused rather than to change what signed specifications may name already."""
    from mra.durable import replace_file

    try:
        if file.exists():
            if file.read_bytes() != packed.archive:
                raise Refused(f"{file} is there with another content: give the machine a new version.")
            return
        replace_file(file, packed.archive)
        file.chmod(0o644)
    except OSError as error:
        raise BadInput(f"Cannot write {file} ({error.strerror}): check --into.") from error
