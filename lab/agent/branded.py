"""A branded agent: `python lab/agent/branded.py run --config lab/agent/agent.toml`."""

import click

from mra import Agent, Options


async def shift() -> dict[str, object]:
    return {"shift": "night"}


@click.command(help="Say hello.")
def hello() -> None:
    click.echo("Hello from the plant.")


if __name__ == "__main__":
    help_ = "help@acme.example"
    Agent(Options("acme-agent", "7.1.0", help_, facts=shift, commands=[hello], deny=frozenset({"gossip"}))).main()
