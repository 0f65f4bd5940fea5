"""`mra saas init`: the keys, accounts and server configuration of a SaaS."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mra.cli import show
from mra.cli.options import json_option
from mra.errors import BadInput

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="saas", show_default=True, help="What the operator is called in its token.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address or host name to listen on.")
@click.option("--port", default=4222, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--http-port", type=click.IntRange(1, 65535), help="Port of /healthz, on loopback; default: none.")
@click.option("--tls-cert", type=_FILE, help="The server's certificate; with --tls-key.")
@click.option("--tls-key", type=_FILE, help="The key of that certificate.")
@click.option("--tls-ca", type=_FILE, help="Authority that the commands judge the server by; default: the system's.")
@json_option
def init(
    directory: Path, name: str, host: str, port: int, http_port: int | None, tls_cert: Path | None,
    tls_key: Path | None, tls_ca: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a SaaS in DIRECTORY: keys, accounts, credentials and the configuration of a stock nats-server.

    Running it again makes what is missing and never replaces a key. The seed keys/operator.seed is not needed any more
    afterwards: keep it elsewhere.

    \b
    Examples:
      mra saas init /srv/saas
      nats-server --config /srv/saas/saas.conf
      mra saas streams apply --saas /srv/saas
      mra saas customer add acme --saas /srv/saas
    """
    from mra.saas.directory import Directory
    from mra.saas.server_config import Listen
    from mra.saas.setup import Setup

    if (tls_cert is None) != (tls_key is None):
        raise BadInput("--tls-cert and --tls-key go together: give both or neither.")
    listen = Listen(
        host, port, http_port, tls_cert.absolute() if tls_cert else None, tls_key.absolute() if tls_key else None
    )
    setup = Setup(Directory(directory), time.time())
    charter = setup.run(name, listen, tls_ca=tls_ca)
    if as_json:
        show.print_json({"operator": charter.operator, "accounts": charter.accounts, "server": charter.server,
                         "made": setup.done})  # fmt: skip
        return
    for file in setup.done:
        click.echo(f"made {directory / file}")
    click.echo(f"Start the server: nats-server --config {directory / 'saas.conf'}")
