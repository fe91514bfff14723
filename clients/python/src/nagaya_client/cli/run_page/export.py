"""What a run's page shows, fetched from the services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.runs.v1 import run_service_pb2
from nagaya_client.paging import pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya.artifacts.v1 import artifact_pb2
    from nagaya.runs.v1 import run_pb2
    from nagaya_client.client import Client

_PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class RunExport:
    """A run with all of its attempts and files."""

    tenant_id: str
    run: run_pb2.Run
    phases: Sequence[run_pb2.RunPhase]
    steps: Sequence[run_pb2.StepTimeline]
    artifacts: Sequence[artifact_pb2.Artifact]


async def fetch(client: Client, tenant_id: str, run_id: str) -> RunExport:
    """Ask for everything, page by page. Raises ApiError."""
    request = run_service_pb2.GetRunTimelineRequest(
        tenant_id=tenant_id, run_id=run_id, page_size=_PAGE_SIZE
    )
    phases: list[run_pb2.RunPhase] = []
    steps: list[run_pb2.StepTimeline] = []
    async for page in pages(client.runs.GetRunTimeline, request):
        phases += page.phases
        steps += page.steps
    listed = artifact_service_pb2.ListArtifactsRequest(
        tenant_id=tenant_id, run_id=run_id, page_size=_PAGE_SIZE
    )
    artifacts = [
        artifact
        async for page in pages(client.artifacts.ListArtifacts, listed)
        for artifact in page.artifacts
    ]
    # Last, so that its state and totals are no older than what stands below them.
    asked = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
    run = (await client.runs.GetRun(asked)).run
    return RunExport(tenant_id, run, phases, steps, artifacts)
