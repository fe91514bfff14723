"""The report of a run: its steps, its files on disk with their sha256, its audit log."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_service_pb2
from nagaya.tenant.v1 import audit_service_pb2
from nagaya_client.cli import hints, run_progress, values
from nagaya_client.errors import BytesCorrupt
from nagaya_client.paging import first, pages
from nagaya_client.transfer import measure

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya.runs.v1 import run_pb2
    from nagaya.tenant.v1 import tenant_pb2
    from nagaya_client.client import Client

_AUDIT_LINES = 6
_OUTPUT = "output.json"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Prints one tenant's run; `objects` is the object store's folder, if it is on this disk."""

    client: Client
    tenant: tenant_pb2.Tenant
    run_id: str
    objects: Path | None

    async def report(self) -> None:
        """Print all of it. Raises BytesCorrupt when a file is not what its record says."""
        request = run_service_pb2.GetRunRequest(tenant_id=self._tenant_id, run_id=self.run_id)
        run = (await self.client.runs.GetRun(request)).run
        state = run_progress.RunProgress("", run).state
        click.echo(f"\n{self.tenant.name} ({self._tenant_id}): run {run.run_id} {state}")
        if run.error.message:
            message = hints.in_commands(run.error.message)
            click.echo(f"  {run.error.step}: {message} ({run.error.reason})")
        await self._steps(run)
        await self._files()
        await self._audit()

    @property
    def _tenant_id(self) -> str:
        return self.tenant.tenant_id

    async def _steps(self, run: run_pb2.Run) -> None:
        request = run_service_pb2.ListRunStepsRequest(
            tenant_id=self._tenant_id, run_id=self.run_id, page_size=200
        )
        listing = pages(self.client.runs.ListRunSteps, request)
        steps = [step async for page in listing for step in page.run_steps]
        order = {step.step: place for place, step in reversed(list(enumerate(steps)))}
        rows = [("STEP", "ITEM", "STATE", "MODEL", "RULE", "TOKENS", "COST", "SECONDS")]
        for step in sorted(steps, key=lambda step: (order[step.step], step.item, step.visit)):
            line = run_progress.row(step)
            asked = (line.model, step.model_rule.lower())
            rows.append(
                (line.step, line.item, line.state, *asked, line.tokens, line.cost, line.seconds)
            )
        took = values.seconds(run.start_time, run.end_time)
        tokens = run.totals.input_tokens + run.totals.output_tokens
        cost = values.money(run.totals.cost_micro_usd)
        rows.append(("total", "", "", "", "", f"{tokens:,}", cost, f"{took:.1f}"))
        _indented(values.aligned(rows))

    async def _files(self) -> None:
        request = artifact_service_pb2.ListArtifactsRequest(
            tenant_id=self._tenant_id, run_id=self.run_id, page_size=200
        )
        listing = pages(self.client.artifacts.ListArtifacts, request)
        files = [artifact async for page in listing for artifact in page.artifacts]
        await asyncio.gather(*map(self._verify, files))
        folder = f"storage/{self._tenant_id}/{self.run_id}"
        where = folder if self.objects is None else _from_here(self.objects / folder)
        click.echo(f"\n  {len(files)} files in {where},")
        click.echo("  each with the sha256 that its record says; the outputs of steps:")
        outputs = [artifact for artifact in files if artifact.name.endswith(_OUTPUT)]
        _indented([f"{a.digest}  {a.path.removeprefix(folder)[1:]}" for a in outputs])

    async def _verify(self, artifact: artifact_pb2.Artifact) -> None:
        if self.objects is None:
            async with aclosing(self.client.read(self._tenant_id, artifact.path).chunks()) as sent:
                async for _ in sent:
                    pass
            return
        place = self.objects / artifact.path
        size, digest = await asyncio.to_thread(measure, place)
        if (size, digest) != (artifact.size_bytes, artifact.digest):
            raise BytesCorrupt(
                f"{place} has sha256 {digest}, its record says {artifact.digest}",
                "`nagaya artifact verify` tells whether the server notices too.",
            )

    async def _audit(self) -> None:
        request = audit_service_pb2.ListAuditLogsRequest(tenant_id=self._tenant_id)
        logs = await first(self.client.audit.ListAuditLogs, request, _AUDIT_LINES)
        click.echo("\n  the last lines of its audit log:")
        rows = [
            (
                str(log.sequence),
                values.moment(log.create_time),
                log.user_id,
                log.action,
                log.resource_type,
                log.resource_id,
            )
            for log in reversed(logs.audit_logs)
        ]
        _indented(values.aligned(rows))


def _from_here(place: Path) -> str:
    return os.path.relpath(place)


def _indented(lines: list[str]) -> None:
    for line in lines:
        click.echo(f"  {line}")
