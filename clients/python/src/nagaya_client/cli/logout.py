"""`nagaya logout`."""

from __future__ import annotations

import click

from nagaya_client.cli.command import Command
from nagaya_client.settings import read_login


@click.command(cls=Command)
@click.option("--profile", metavar="NAME", help="A profile of config.toml.")
def command(profile: str | None) -> None:
    """Forget the login of a profile, and have the provider renew it no more.

    The token that was last given counts until it expires.
    """
    login = read_login({"profile": profile or ""})
    if not login.exists():
        click.echo("nobody was logged in")
        return
    login.forget()
    click.echo("logged out")
