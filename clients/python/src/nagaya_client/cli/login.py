"""`nagaya login`."""

from __future__ import annotations

import webbrowser
from datetime import datetime
from typing import TYPE_CHECKING

import click

from nagaya_client.cli.command import Command
from nagaya_client.login import browser, device
from nagaya_client.login.issuer import Issuer
from nagaya_client.settings import read_login_settings

if TYPE_CHECKING:
    from nagaya_client.login.grant import Grant


@click.command(cls=Command)
@click.option("--issuer", metavar="URL", help="Your OpenID Connect provider.")
@click.option("--client-id", metavar="ID", help="A client of it, one without a secret.")
@click.option("--scope", metavar="SCOPES", help="To ask for besides openid and offline_access.")
@click.option("--audience", metavar="API", help="For which API, where the provider asks for it.")
@click.option("--resource", metavar="URI", help="The same by RFC 8707.")
@click.option("--browser", "here", is_flag=True, help="Log in with the browser of this machine.")
@click.option("--profile", metavar="NAME", help="A profile of config.toml.")
def command(*, here: bool, profile: str | None, **given: str | None) -> None:
    """Log in at your identity provider.

    It shows an address and a code: open the address in any browser and enter the code there. What
    is given is kept for the profile in a file that only you may read, renewed by itself, and used
    where no other token is named. Where and as whom is asked once: it is kept too.
    """
    flags = {f"oidc_{name}": value or "" for name, value in given.items()}
    settings, login = read_login_settings({"profile": profile or "", **flags})
    issuer = Issuer(settings)
    if here or not issuer.endpoint(device.ENDPOINT):
        grant = browser.log_in(issuer, _open)
    else:
        code = device.begin(issuer)
        _tell(code)
        grant = device.finish(issuer, code)
    login.save(settings, grant)
    click.echo(f"logged in at {settings.issuer}{_until(grant)}")


def _tell(code: device.DeviceCode) -> None:
    click.echo(f"Open {code.verification_uri} and enter the code {code.user_code}", err=True)
    if code.complete_uri:
        click.echo(f"or open {code.complete_uri} and compare the code there", err=True)


def _open(url: str) -> None:
    click.echo(f"If no browser opens, open this in one of this machine:\n{url}", err=True)
    webbrowser.open(url)


def _until(grant: Grant) -> str:
    if grant.refresh_token:
        return ", renewed by itself"
    end = datetime.fromtimestamp(grant.expire_time).astimezone()
    return f", until {end:%Y-%m-%d %H:%M:%S}: the provider gave nothing that renews it"
