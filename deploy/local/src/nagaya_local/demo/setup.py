"""Tenants, prompts, pipelines and overrides of the demo: created once, then found again."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf import json_format

from nagaya.llm_gateway.v1 import catalog_service_pb2
from nagaya.runs.v1 import pipeline_service_pb2, prompt_service_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2
from nagaya_client.errors import ApiError
from nagaya_client.pipeline_file import read_pipeline
from nagaya_local.demo.demo_data import PIPELINE, request_id
from nagaya_local.supervisor.provider_addresses import CATALOG_SECONDS

if TYPE_CHECKING:
    from nagaya.runs.v1 import pipeline_pb2, run_pb2
    from nagaya_client.client import Client
    from nagaya_local.demo.demo_data import Customer, Example


@dataclass(slots=True)
class DemoOverrides:
    """The overrides of step defaults, and when they hold."""

    client: Client
    _changed_at: float | None = None

    async def set_overrides(self, customer: Customer) -> None:
        """Set the customer's own choice of models."""
        listed = await self.client.catalog.ListTenantStepOverrides(
            catalog_service_pb2.ListTenantStepOverridesRequest(
                tenant_id=customer.tenant_id, page_size=200
            )
        )
        known = {override.step: override.model_class for override in listed.overrides}
        for override in customer.overrides:
            if known.get(override.step) != override.model_class:
                request = catalog_service_pb2.SetTenantStepOverrideRequest(
                    tenant_id=customer.tenant_id, override=override
                )
                await self.client.catalog.SetTenantStepOverride(request)
                self._changed_at = time.monotonic()

    async def settled(self) -> None:
        """Return when every change that was made holds."""
        if self._changed_at is not None:
            await asyncio.sleep(self._changed_at + CATALOG_SECONDS - time.monotonic())


async def open_tenant(client: Client, customer: Customer) -> tenant_pb2.Tenant:
    """Create a customer's tenant, or find it as it is; resume it when it is suspended."""
    tenants = client.tenants
    try:
        created = await tenants.CreateTenant(
            tenant_service_pb2.CreateTenantRequest(
                tenant_id=customer.tenant_id,
                name=customer.name,
                request_id=request_id("tenant", customer.tenant_id, customer.name),
            )
        )
        tenant = created.tenant
    except ApiError as error:
        if error.code is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        request = tenant_service_pb2.GetTenantRequest(tenant_id=customer.tenant_id)
        tenant = (await tenants.GetTenant(request)).tenant
    if tenant.state == tenant_pb2.TENANT_STATE_SUSPENDED:
        resume = tenant_service_pb2.ResumeTenantRequest(tenant_id=customer.tenant_id)
        tenant = (await tenants.ResumeTenant(resume)).tenant
    return tenant


async def load_prompts(client: Client, tenant_id: str, prompts: dict[str, str]) -> None:
    """Make the example's prompts the active ones."""
    await asyncio.gather(*(_load(client, tenant_id, *prompt) for prompt in prompts.items()))


async def _load(client: Client, tenant_id: str, step: str, content: str) -> None:
    created = await client.prompts.CreatePromptVersion(
        prompt_service_pb2.CreatePromptVersionRequest(
            tenant_id=tenant_id,
            request_id=request_id("prompt", step, content),
            step=step,
            content=content,
        )
    )
    if not created.prompt_version.active:
        request = prompt_service_pb2.ActivatePromptVersionRequest(
            tenant_id=tenant_id, step=step, version=created.prompt_version.version
        )
        await client.prompts.ActivatePromptVersion(request)


async def load_pipeline(
    client: Client, tenant_id: str, example: Example
) -> pipeline_pb2.PipelineVersion:
    """Create the example's pipeline, or find the version that has its content."""
    pipeline = read_pipeline(example.pipeline)
    content = pipeline.spec.SerializeToString(deterministic=True)
    request = pipeline_service_pb2.CreatePipelineVersionRequest(
        tenant_id=tenant_id,
        request_id=request_id("pipeline", PIPELINE, content),
        pipeline=PIPELINE,
        spec=pipeline.spec,
    )
    try:
        return (await client.pipelines.CreatePipelineVersion(request)).pipeline_version
    except ApiError as error:
        raise pipeline.located(error) or error from None


async def start_run(client: Client, customer: Customer, version: int, brief: str) -> run_pb2.Run:
    """Start a new run of the customer's brief."""
    request = run_service_pb2.CreateRunRequest(
        tenant_id=customer.tenant_id,
        request_id=str(uuid.uuid4()),
        pipeline=PIPELINE,
        pipeline_version=version,
    )
    json_format.Parse(brief, request.inline)
    request.config.update({"brief": customer.brief})
    return (await client.runs.CreateRun(request)).run
