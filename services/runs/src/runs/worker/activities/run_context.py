"""What the steps of a run need to know of it. It never changes, so it is cached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.failures import RunClosed, StepImpossible
from runs.domain.runs import RunStatus
from runs.store import pipelines, prompts, runs

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef
    from runs.domain.pipelines import PipelineSpec
    from runs.domain.prompts import PromptVersion
    from runs.domain.runs import RunParameters

_CACHED_RUNS = 2_000
_CACHED_SPECS = 200
_CACHED_PROMPTS = 200


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run, and the pipeline version that it goes through."""

    run: RunParameters
    spec: PipelineSpec


class RunContextCache:
    """The contexts of the runs of this worker, read from the tenants' databases."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._contexts: OrderedDict[RunRef, RunContext] = OrderedDict()
        self._specs: OrderedDict[tuple[str, str, int], PipelineSpec] = OrderedDict()
        self._prompts: OrderedDict[tuple[str, str, int], PromptVersion] = OrderedDict()

    async def find(self, run: RunRef) -> RunContext:
        """Return the context of a run. Raises RunClosed if it is gone, over, paused or replaced."""
        return self._contexts.get(run) or await self._read(run)

    def put(self, run: RunRef, context: RunContext) -> None:
        """Spare the run's further steps a query."""
        self._contexts[run] = context
        if len(self._contexts) > _CACHED_RUNS:
            self._contexts.popitem(last=False)

    def discard(self, run: RunRef) -> None:
        """Drop the context of a run that has ended."""
        self._contexts.pop(run, None)

    def forget(self, tenant_id: str) -> None:
        """Drop all that is known of a tenant: it has changed, or is gone."""
        for run in [run for run in self._contexts if run.tenant_id == tenant_id]:
            del self._contexts[run]
        for known in (self._specs, self._prompts):
            for key in [key for key in known if key[0] == tenant_id]:
                del known[key]

    async def is_completed(self, run: RunRef) -> bool:
        """Return whether a run has completed, in this epoch."""
        async with self._tenants.connection(run.tenant_id) as connection:
            found = await runs.find_parameters(connection, run.run_id)
        return (
            found is not None and found.epoch == run.epoch and found.status is RunStatus.COMPLETED
        )

    async def prompt(self, tenant_id: str, name: str, version: int) -> PromptVersion:
        """Return a version of a prompt. Raises StepImpossible if it is gone."""
        key = (tenant_id, name, version)
        known = self._prompts.get(key)  # a version never changes
        if known is not None:
            return known
        async with self._tenants.connection(tenant_id) as connection:
            prompt = await prompts.find(connection, name, version)
        if prompt is None:
            raise StepImpossible("PROMPT_UNUSABLE", f"prompt {name} has no version {version}")
        self._prompts[key] = prompt
        if len(self._prompts) > _CACHED_PROMPTS:
            self._prompts.popitem(last=False)
        return prompt

    async def _read(self, run: RunRef) -> RunContext:
        async with self._tenants.connection(run.tenant_id) as connection:
            parameters = await runs.find_parameters(connection, run.run_id)
            if parameters is None or parameters.epoch != run.epoch or not parameters.status.active:
                raise RunClosed
            return RunContext(parameters, await self._spec(connection, run.tenant_id, parameters))

    async def _spec(
        self, connection: Connection, tenant_id: str, run: RunParameters
    ) -> PipelineSpec:
        key = (tenant_id, run.pipeline, run.pipeline_version)
        spec = self._specs.get(key)
        if spec is None:
            version = await pipelines.find(connection, run.pipeline, run.pipeline_version)
            if version is None:
                raise RunClosed
            spec = self._specs[key] = version.spec
            if len(self._specs) > _CACHED_SPECS:
                self._specs.popitem(last=False)
        return spec
