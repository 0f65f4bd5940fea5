"""A branded agent: `python lab/agent/branded.py run --config lab/agent/agent.toml`."""

import click

from mra import Agent, Options

SIGNER = "50d1b854f01567922ae34db331cb69ca606cc77147701310a4a3a36b301ad0b7"  # of lab/plugins/signer.seed


async def shift() -> dict[str, object]:
    return {"shift": "night"}


@click.command(help="Say hello.")
def hello() -> None:
    click.echo("Hello from the plant.")


if __name__ == "__main__":
    Agent(Options("acme-agent", "7.1.0", "help@acme.example", SIGNER, facts=shift, commands=[hello])).main()
