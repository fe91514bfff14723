"""Pipelines: validating and creating versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.drafts import PipelineDraft
from runs.errors import PromptUnusable, RequestIdReused
from runs.store import pipelines, prompts
from runs.wire.pipelines import document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.pipelines import PipelineSpec, PipelineVersion
    from runs.domain.prompts import PromptFacts, PromptRequirement


class Pipelines:
    """Checks and creates versions of pipelines."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def validate(self, tenant_id: str, spec: PipelineSpec) -> int:
        """Return the size in bytes of a pipeline's plan.

        Raises PipelineInvalid, PlanTooLarge and PromptUnusable.
        """
        draft = PipelineDraft.parse("", spec, document)
        async with self._tenants.connection(tenant_id) as connection:
            await _check_prompts(connection, spec)
        return draft.plan_size_bytes

    async def create(
        self, tenant_id: str, request_id: str, pipeline: str, spec: PipelineSpec
    ) -> PipelineVersion:
        """Create the next version of a pipeline.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PipelineInvalid, PlanTooLarge and PromptUnusable.
        """
        draft = PipelineDraft.parse(pipeline, spec, document)
        async with self._tenants.transaction(tenant_id) as connection:
            created = await pipelines.insert(connection, draft, request_id)
            if created is None:
                existing = await pipelines.find_by_request(connection, request_id)
                return _same(existing, draft, request_id)
            await _check_prompts(connection, spec)
            resource = f"{pipeline}/{created.version}"
            await audit.append(connection, "pipeline.create", "pipeline", resource)
            return created


async def _check_prompts(connection: Connection, spec: PipelineSpec) -> None:
    needs = spec.prompts()
    if needs:
        check_prompts(needs, await prompts.facts(connection, needs))


def check_prompts(needs: Sequence[PromptRequirement], found: Mapping[str, PromptFacts]) -> None:
    """Raise PromptUnusable if a step's prompt is missing, or asks for other variables."""
    faults = [fault for need in needs for fault in need.faults(found.get(need.step))]
    if faults:
        first = faults[0]
        descriptions = "; ".join(fault.description for fault in faults)
        raise PromptUnusable(descriptions, step=first.step, variable=first.variable)


def _same(
    existing: PipelineVersion | None, draft: PipelineDraft, request_id: str
) -> PipelineVersion:
    if existing is None or (existing.pipeline, existing.digest) != (draft.pipeline, draft.digest):
        raise RequestIdReused(request_id, "pipeline version")
    return existing
