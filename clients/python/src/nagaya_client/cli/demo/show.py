"""The demo from the curtain's rise to its fall."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from nagaya_client.cli import failures
from nagaya_client.cli.board import Board
from nagaya_client.cli.demo import stage
from nagaya_client.cli.demo.report import Reporter
from nagaya_client.cli.demo.scene import CUSTOMERS, Example
from nagaya_client.cli.watching import drawn, follow, say_line
from nagaya_client.client import Client
from nagaya_client.errors import NagayaError
from nagaya_client.settings import Token, local_stack_settings
from nagaya_local import commands
from nagaya_local.clone.providers import read_providers
from nagaya_local.clone.tokens import issue_tenant_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya.tenant.v1 import tenant_pb2
    from nagaya_client.cli.demo.scene import Customer
    from nagaya_local.clone.layout import Layout
    from nagaya_local.supervisor.state import PartStatus


@dataclass(frozen=True, slots=True)
class Part:
    """One customer's part in the demo."""

    who: Customer
    client: Client
    """With the customer's own token."""
    tenant: tenant_pb2.Tenant
    pipeline_version: int


async def show_demo(layout: Layout) -> None:
    """Show it. Raises Ended unless both runs complete, NagayaError and LocalError."""
    example = Example(layout.root / "examples" / "article")
    if not example.pipeline.exists():
        raise NagayaError(
            f"{example.folder} is not there", "Run the demo in a clone of the repository."
        )
    began = time.monotonic()
    await commands.up(layout, click.echo)
    settings = local_stack_settings(layout.root)
    async with AsyncExitStack() as clients:
        operator = await clients.enter_async_context(Client.connect(settings))
        catalog = stage.Catalog(operator)
        await _choose_providers(catalog, layout)
        parts = [await _prepare(who, catalog, layout, example, clients) for who in CUSTOMERS]
        await catalog.settled()
        boards = await _run(parts, example)
        click.echo(f"both runs are over, {time.monotonic() - began:.1f} s after the beginning")
        for part, board in zip(parts, boards, strict=True):
            await _report(layout, operator, part, board)
    await _say_where(layout, parts, boards)
    completed = sum(board.completed for board in boards)
    if completed < len(boards):
        raise failures.Ended(failures.PARTIAL if completed else failures.FAILED)


async def _choose_providers(catalog: stage.Catalog, layout: Layout) -> None:
    providers = read_providers(layout)
    real = [provider.id for provider in providers if provider.real]
    if real:
        click.echo(f"keys are set for {', '.join(real)}: their models are called and cost money")
    await catalog.set_providers(providers)


async def _prepare(
    who: Customer,
    catalog: stage.Catalog,
    layout: Layout,
    example: Example,
    clients: AsyncExitStack,
) -> Part:
    """Make or find the customer's tenant, token, prompts, pipeline and choice of models."""
    tenant = await stage.open_tenant(catalog.client, who)
    token = Token(file=issue_tenant_token(layout, who.tenant_id))
    settings = replace(catalog.client.settings, token=token)
    client = await clients.enter_async_context(Client.connect(settings))
    await catalog.set_overrides(who)
    await stage.load_prompts(client, who.tenant_id, example.prompts())
    pipeline = await stage.load_pipeline(client, who.tenant_id, example)
    click.echo(
        f"tenant {tenant.tenant_id:<8} database {tenant.database}, "
        f"pipeline {pipeline.pipeline} version {pipeline.version}"
    )
    return Part(who, client, tenant, pipeline.version)


async def _run(parts: Sequence[Part], example: Example) -> list[Board]:
    """Run all parts at once, and show how they go on."""
    runs = await asyncio.gather(
        *(
            stage.start_run(
                part.client, part.who, part.pipeline_version, example.brief(part.who.brief)
            )
            for part in parts
        )
    )
    longest = max(len(part.who.tenant_id) for part in parts)
    boards = [
        Board(part.who.tenant_id.ljust(longest), run) for part, run in zip(parts, runs, strict=True)
    ]
    click.echo("")
    try:
        async with drawn(boards) if sys.stdout.isatty() else nullcontext(say_line) as hear:
            await asyncio.gather(
                *(
                    follow(part.client, board, part.who.tenant_id, board.run.run_id, hear)
                    for part, board in zip(parts, boards, strict=True)
                )
            )
    except asyncio.CancelledError:
        click.echo("the stack is up and the runs go on: `make demo` starts new ones", err=True)
        raise
    return boards


async def _report(layout: Layout, operator: Client, part: Part, board: Board) -> None:
    elsewhere = (await _part(layout, "s3")).external
    objects = None if elsewhere else layout.s3
    await Reporter(operator, part.tenant, board.run.run_id, objects).report()


async def _say_where(layout: Layout, parts: Sequence[Part], boards: Sequence[Board]) -> None:
    names = ", ".join(f"{part.tenant.tenant_id}: {part.tenant.database}" for part in parts)
    postgres, temporal = await _part(layout, "postgres"), await _part(layout, "temporal")
    first, second = (part.who.tenant_id for part in parts)
    run_id = boards[0].run.run_id
    nagaya = _command()
    click.echo(f"""
databases   {names}
PostgreSQL  {postgres.address}
Temporal    {temporal.address}; workflow {first}/{run_id}

The stack is up and stays up. What to try next:
  {nagaya} run list --tenant {first}
  {nagaya} artifact cat storage/{first}/{run_id}/polish/output.json
  {nagaya} call list --tenant {first} --run {run_id}
  {nagaya} model resolve draft --tenant {second}
  {nagaya} dev status
  make down""")


async def _part(layout: Layout, name: str) -> PartStatus:
    state = await commands.status(layout)
    return next(part for part in state.parts if part.name == name)


def _command() -> str:
    """The command as a person can type it here."""
    if shutil.which("nagaya"):
        return "nagaya"
    near = os.path.relpath(sys.argv[0])
    return sys.argv[0] if near.startswith("..") else near
