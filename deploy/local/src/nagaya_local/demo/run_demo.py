"""The demo: two customers' pipelines, run at the same time, and a report of each."""

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
from nagaya_client.cli.run_progress import RunProgress
from nagaya_client.cli.watch_run import follow, live_table, print_event
from nagaya_client.client import Client
from nagaya_client.errors import NagayaError
from nagaya_client.settings import local_stack_settings
from nagaya_client.tokens import Token
from nagaya_local import commands
from nagaya_local.clone.providers import read_providers
from nagaya_local.clone.tokens import issue_tenant_token
from nagaya_local.demo import setup
from nagaya_local.demo.demo_data import CUSTOMERS, Example
from nagaya_local.demo.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya.tenant.v1 import tenant_pb2
    from nagaya_local.clone.layout import Layout
    from nagaya_local.demo.demo_data import Customer
    from nagaya_local.supervisor.state import PartStatus


@dataclass(frozen=True, slots=True)
class PreparedCustomer:
    """A customer whose tenant, prompts and pipeline are there."""

    customer: Customer
    client: Client
    """With the customer's own token."""
    tenant: tenant_pb2.Tenant
    pipeline_version: int


async def run_demo(layout: Layout) -> None:
    """Start the stack if it is down, run both pipelines to the end, and report.

    Raises CommandExit unless both runs complete, NagayaError and LocalError.
    """
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
        catalog = setup.DemoOverrides(operator)
        _warn_of_costs(layout)
        prepared = [
            await _prepare(customer, catalog, layout, example, clients) for customer in CUSTOMERS
        ]
        await catalog.settled()
        boards = await _run(prepared, example)
        click.echo(f"both runs are over, {time.monotonic() - began:.1f} s after the beginning")
        for one, board in zip(prepared, boards, strict=True):
            await _report(layout, operator, one, board)
    _show_addresses(layout, prepared, boards)
    completed = sum(board.completed for board in boards)
    if completed < len(boards):
        raise failures.CommandExit(failures.PARTIAL if completed else failures.FAILED)


def _warn_of_costs(layout: Layout) -> None:
    real = [provider.id for provider in read_providers(layout) if provider.real]
    if real:
        click.echo(f"keys are set for {', '.join(real)}: their models are called and cost money")


async def _prepare(
    customer: Customer,
    catalog: setup.DemoOverrides,
    layout: Layout,
    example: Example,
    clients: AsyncExitStack,
) -> PreparedCustomer:
    """Create or find the customer's tenant, token, prompts, pipeline and choice of models."""
    tenant = await setup.open_tenant(catalog.client, customer)
    token = Token(file=issue_tenant_token(layout, customer.tenant_id))
    settings = replace(catalog.client.settings, token=token)
    client = await clients.enter_async_context(Client.connect(settings))
    await catalog.set_overrides(customer)
    await setup.load_prompts(client, customer.tenant_id, example.prompts())
    pipeline = await setup.load_pipeline(client, customer.tenant_id, example)
    click.echo(
        f"tenant {tenant.tenant_id:<8} database {tenant.database}, "
        f"pipeline {pipeline.pipeline} version {pipeline.version}"
    )
    return PreparedCustomer(customer, client, tenant, pipeline.version)


async def _run(prepared: Sequence[PreparedCustomer], example: Example) -> list[RunProgress]:
    """Run all pipelines at once, and show their progress."""
    runs = await asyncio.gather(
        *(
            setup.start_run(
                one.client, one.customer, one.pipeline_version, example.brief(one.customer.brief)
            )
            for one in prepared
        )
    )
    longest = max(len(one.customer.tenant_id) for one in prepared)
    boards = [
        RunProgress(one.customer.tenant_id.ljust(longest), run)
        for one, run in zip(prepared, runs, strict=True)
    ]
    click.echo("")
    try:
        async with live_table(boards) if sys.stdout.isatty() else nullcontext(print_event) as hear:
            await asyncio.gather(
                *(
                    follow(one.client, board, one.customer.tenant_id, board.run.run_id, hear)
                    for one, board in zip(prepared, boards, strict=True)
                )
            )
    except asyncio.CancelledError:
        click.echo("the stack is up and the runs go on: `make demo` starts new ones", err=True)
        raise
    return boards


async def _report(
    layout: Layout, operator: Client, one: PreparedCustomer, board: RunProgress
) -> None:
    objects = None if _part(layout, "s3").external else layout.s3
    await Reporter(operator, one.tenant, board.run.run_id, objects).report()


def _show_addresses(
    layout: Layout, prepared: Sequence[PreparedCustomer], boards: Sequence[RunProgress]
) -> None:
    names = ", ".join(f"{one.tenant.tenant_id}: {one.tenant.database}" for one in prepared)
    postgres, temporal = _part(layout, "postgres"), _part(layout, "temporal")
    first, second = (one.customer.tenant_id for one in prepared)
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


def _part(layout: Layout, name: str) -> PartStatus:
    return next(part for part in commands.status(layout).parts if part.name == name)


def _command() -> str:
    """The command as a person can type it here."""
    if shutil.which("nagaya"):
        return "nagaya"
    near = os.path.relpath(sys.argv[0])
    return sys.argv[0] if near.startswith("..") else near
