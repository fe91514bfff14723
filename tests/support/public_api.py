"""What many tests do by the public API: a tenant, prompts, a pipeline, a run and its end."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    prompt_service_pb2,
    run_pb2,
    run_service_pb2,
)
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    from nagaya_client.client import Client

FINAL = (run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)


async def create_tenant(client: Client, prefix: str = "t") -> str:
    """Create a tenant of the test's own."""
    tenant_id = f"{prefix}-{uuid.uuid4().hex[:8]}"
    request = tenant_service_pb2.CreateTenantRequest(
        tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
    )
    await client.tenants.CreateTenant(request)
    return tenant_id


async def create_prompt(client: Client, tenant_id: str, step: str, content: str) -> None:
    """Create a step's prompt and make it the active one."""
    created = await client.prompts.CreatePromptVersion(
        prompt_service_pb2.CreatePromptVersionRequest(
            tenant_id=tenant_id, request_id=uuid.uuid4().hex, step=step, content=content
        )
    )
    version = created.prompt_version.version
    await client.prompts.ActivatePromptVersion(
        prompt_service_pb2.ActivatePromptVersionRequest(
            tenant_id=tenant_id, step=step, version=version
        )
    )


async def create_pipeline(client: Client, tenant_id: str, name: str, spec: dict[str, Any]) -> None:
    """Create a pipeline from the JSON form of its spec."""
    await client.pipelines.CreatePipelineVersion(
        pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=tenant_id,
            request_id=uuid.uuid4().hex,
            pipeline=name,
            spec=json_format.ParseDict(spec, pipeline_pb2.PipelineSpec()),
        )
    )


async def create_run(client: Client, tenant_id: str, pipeline: str, value: object) -> str:
    """Start a run with an inline input; return its id."""
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline=pipeline
    )
    json_format.Parse(json.dumps(value), request.inline)
    return (await client.runs.CreateRun(request)).run.run_id


async def finish(client: Client, tenant_id: str, run_id: str) -> run_pb2.Run:
    """Watch a run to its end."""
    last = run_pb2.Run()
    async for event in client.watch_run(tenant_id, run_id):
        if event.HasField("run"):
            last = event.run
    assert last.state in FINAL
    return last


async def list_steps(client: Client, tenant_id: str, run_id: str) -> list[run_pb2.RunStep]:
    """Return a run's pieces of work, at most 200."""
    request = run_service_pb2.ListRunStepsRequest(tenant_id=tenant_id, run_id=run_id, page_size=200)
    return list((await client.runs.ListRunSteps(request)).run_steps)
