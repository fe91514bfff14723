"""`nagaya run export`."""

from __future__ import annotations

import importlib

import click

from nagaya_client.cli import completion
from nagaya_client.cli.command import Command
from nagaya_client.cli.session import Session, api_command, tenant_option

_NEW_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.command(cls=Command)
@click.argument("run_id", shell_complete=completion.runs)
@click.option(
    "--html",
    "target",
    type=_NEW_FILE,
    required=True,
    metavar="FILE",
    help="The page to write; - is standard output.",
)
@tenant_option
@api_command
async def export(session: Session, run_id: str, target: str, tenant: str) -> None:
    """Write a run as one page of HTML.

    It shows what happened when, all attempts, costs and files, and needs nothing beside itself. It
    holds names, figures and messages of errors, and no body of a file.
    """
    page = importlib.import_module("nagaya_client.cli.run_page.render")
    source = importlib.import_module("nagaya_client.cli.run_page.export")
    text: str = page.render(await source.fetch(session.client, tenant, run_id))
    with click.open_file(target, "w", encoding="utf-8", atomic=target != "-") as file:
        file.write(text)
    if target != "-":
        click.echo(target)
