"""`nagaya dev`: the stack on this machine, as commands of the `nagaya` command line.

What only one command needs is imported by that command: `up` starts nothing before it is loaded.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from nagaya_client.cli import failures
from nagaya_client.cli.command import Group, output_options
from nagaya_local import commands
from nagaya_local.clone.choices import TLS
from nagaya_local.clone.layout import Layout
from nagaya_local.errors import LocalError, UsageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")


def local_command(call: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a command's callback of a coroutine; a LocalError is printed with the log's end."""

    @functools.wraps(call)
    def command(*args: P.args, **options: P.kwargs) -> None:
        try:
            asyncio.run(call(*args, **options))
        except LocalError as error:
            for line in (*error.log_tail, f"error: {error.message}", f"hint: {error.remedy}"):
                click.echo(line, err=True)
            raise failures.CommandExit(error.exit_code) from None

    return command


@click.group(cls=Group)
def group() -> None:
    """The whole of Nagaya on this machine."""


@group.command()
@click.argument("parts", metavar="[PART]...", nargs=-1)
@click.option("--here", is_flag=True, help="Begin a stack in this folder, which is no clone.")
@click.option("--tls", is_flag=True, help="Speak TLS only, by certificates made for this clone.")
@local_command
async def up(*, parts: tuple[str, ...], here: bool, tls: bool) -> None:
    """Start everything and wait until it is ready; data is kept.

    With PARTs only these run: the addresses of the others lead nowhere then.
    """
    layout = _layout_to_start(here=here)
    if tls:
        os.environ[TLS] = "true"  # for the supervisor too
    await commands.up(layout, click.echo, parts)
    click.echo(f"addresses: {layout.endpoints}")


@group.command()
@local_command
async def down() -> None:
    """End everything; data is kept."""
    await commands.down(_layout(), click.echo)


@group.command()
@output_options
@local_command
async def status(*, output: str | None, no_headers: bool) -> None:
    """Show each part: state, address, restarts. Exits with 6 unless all are ready."""
    state = commands.status(_layout())
    if output in (None, "table"):
        for line in commands.status_lines(state):
            click.echo(line)
    else:
        from nagaya_client.cli.output import Printer  # noqa: PLC0415 - loads protobuf

        records = [asdict(part) for part in state.parts]
        Printer(output, headers=not no_headers).show_records(records)
    if not state.ready:
        raise failures.CommandExit(failures.UNAVAILABLE)


@group.command()
@click.argument("part", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("-n", "--lines", default=50, show_default=True, help="Of each log.")
@local_command
async def logs(*, part: str | None, follow: bool, lines: int) -> None:
    """Show the log of a part, or of all."""
    await commands.logs(_layout(), click.echo, part, lines=lines, follow=follow)


@group.command()
@local_command
async def doctor() -> None:
    """Check this machine and stack, and print a report for a question."""
    from nagaya_local.commands.doctor import doctor as check  # noqa: PLC0415 - loads gRPC

    if not await check(_layout(), click.echo):
        raise failures.CommandExit(failures.FAILED)


@group.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@local_command
async def clean(*, yes: bool) -> None:
    """End everything and delete all data; asks first."""
    agreed = await commands.clean(_layout(), click.echo, lambda text: yes or _confirmed(text))
    if not agreed:
        raise failures.CommandExit(failures.FAILED)


@group.command()
@click.argument("tenant")
@local_command
async def token(*, tenant: str) -> None:
    """Write a token for a person of a tenant, and print its file.

    For NAGAYA_TOKEN_FILE; while the stack runs it is renewed before it expires.
    """
    from nagaya_local.commands.tenants import issue_known_tenant_token  # noqa: PLC0415 - loads gRPC

    click.echo(await issue_known_tenant_token(_layout(), tenant))


@group.command()
@click.argument("canaries", metavar="[CANARY]...", nargs=-1)
@local_command
async def auditor(*, canaries: tuple[str, ...]) -> None:
    """Look in Temporal's histories for bodies, and each CANARY."""
    from nagaya_local.commands.auditor import audit_histories  # noqa: PLC0415 - of this one alone

    if code := await asyncio.to_thread(audit_histories, _layout(), canaries):
        raise failures.CommandExit(code)


@group.command()
@local_command
async def demo() -> None:
    """Run two customers' pipelines, and show what they leave behind."""
    from nagaya_local.demo.run_demo import run_demo  # noqa: PLC0415 - loads the whole client

    await run_demo(_layout_to_start())


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
