"""`nagaya dev`: the whole of Nagaya on this machine, where the package `nagaya_local` is."""

from __future__ import annotations

import asyncio
import functools
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from nagaya_client.cli import failures
from nagaya_client.cli.command import Group
from nagaya_client.cli.output import Printer
from nagaya_client.cli.session import output_options
from nagaya_client.client import Client
from nagaya_client.errors import NagayaError
from nagaya_client.settings import local_stack_settings

try:
    from nagaya_client.cli.demo.show import show_demo
    from nagaya_client.cli.providers import point_providers
    from nagaya_local import commands
    from nagaya_local.clone.layout import Layout
    from nagaya_local.clone.providers import read_providers
    from nagaya_local.commands.doctor import describe
    from nagaya_local.commands.doctor import doctor as report_on
    from nagaya_local.commands.tenants import issue_known_tenant_token
    from nagaya_local.errors import LocalError, UsageInvalid
except ModuleNotFoundError as missing:
    raise NagayaError(
        f"the local stack is not installed ({missing})",
        "It comes with a clone: `make install` there installs it.",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")


def locally(call: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a command's callback of a coroutine; what the stack cannot do is told with its log."""

    @functools.wraps(call)
    def command(*args: P.args, **options: P.kwargs) -> None:
        try:
            asyncio.run(call(*args, **options))
        except LocalError as error:
            for line in error.log_tail:
                click.echo(line, err=True)
            raise failures.StackFailed(error.message, error.remedy, error.exit_code) from None

    return command


@click.group(cls=Group)
def group() -> None:
    """The whole of Nagaya on this machine."""


@group.command()
@click.argument("parts", metavar="[PART]...", nargs=-1)
@click.option("--here", is_flag=True, help="Begin a stack in this folder, which is no clone.")
@locally
async def up(*, parts: tuple[str, ...], here: bool) -> None:
    """Start everything and wait until it is ready; data is kept.

    With PARTs only these run: the addresses of the others lead nowhere then.
    """
    layout = _layout_to_start(here=here)
    await commands.up(layout, click.echo, parts)
    if parts:
        click.echo(f"addresses: {layout.endpoints}")
        return
    async with Client.connect(local_stack_settings(layout.root)) as client:
        await point_providers(client, read_providers(layout))
    click.echo(f"addresses: {layout.endpoints}")


@group.command()
@locally
async def down() -> None:
    """End everything; data is kept."""
    await commands.down(_layout(), click.echo)


@group.command()
@output_options
@locally
async def status(*, output: str | None, no_headers: bool) -> None:
    """Show each part: state, address, restarts. Exits with 6 unless all are ready."""
    layout = _layout()
    state = await commands.status(layout)
    if output in (None, "table"):
        for line in describe(layout):
            click.echo(line)
    else:
        records = [asdict(part) for part in state.parts]
        Printer(output, headers=not no_headers).show_records(records)
    if not state.ready:
        raise failures.Ended(failures.UNAVAILABLE)


@group.command()
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("-n", "--lines", default=50, show_default=True, help="Of each log.")
@locally
async def logs(*, part: str | None, follow: bool, lines: int) -> None:
    """Show the log of a part, or of all."""
    await commands.logs(_layout(), click.echo, part, lines=lines, follow=follow)


@group.command()
@locally
async def doctor() -> None:
    """Print a report on this machine and stack, for a question."""
    await report_on(_layout(), click.echo)


@group.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@locally
async def clean(*, yes: bool) -> None:
    """End everything and delete all data; asks first."""
    agreed = await commands.clean(_layout(), click.echo, lambda text: yes or _confirmed(text))
    if not agreed:
        raise failures.Ended(failures.FAILED)


@group.command()
@click.argument("tenant")
@locally
async def token(*, tenant: str) -> None:
    """Write a token for a person of a tenant, and print its file.

    For NAGAYA_TOKEN_FILE; it is good for 30 days.
    """
    click.echo(await issue_known_tenant_token(_layout(), tenant))


@group.command()
@locally
async def demo() -> None:
    """Run two customers' pipelines, and show what they leave behind."""
    await show_demo(_layout_to_start())


def _confirmed(question: str) -> bool:
    click.echo(f"{question} [y/N]: ", nl=False)
    answer = sys.stdin.readline()
    if not answer:
        click.echo("\nnobody answers here; --yes does (`make clean YES=1`)", err=True)
    return answer.strip().lower() in ("y", "yes")


def _layout_to_start(*, here: bool = False) -> Layout:
    """Return the clone's layout. Raises UsageInvalid where another stack would begin unasked."""
    layout = _layout()
    if not (here or layout.is_ours):
        raise UsageInvalid(
            f"{layout.root} is no clone of Nagaya, and a stack of its own would begin in it",
            "Go into the clone whose stack you mean; `nagaya dev up --here` begins one here.",
        )
    return layout


def _layout() -> Layout:
    return Layout.around(Path.cwd())
