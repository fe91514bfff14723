"""What the steps of a run are done with. It never changes, so it is read once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.failures import RunClosed, StepImpossible

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.pipelines import PipelineSpec
    from runs.domain.prompts import PromptVersion
    from runs.domain.runs import RunSetup
    from runs.domain.work import RunRef
    from runs.store.pipelines import PipelineStore
    from runs.store.prompts import PromptStore
    from runs.store.runs import RunStore

_KNOWN_RUNS = 2_000
_KNOWN_SPECS = 200


@dataclass(frozen=True, slots=True)
class Setup:
    """A run, and the pipeline version that it goes through."""

    run: RunSetup
    spec: PipelineSpec


class Setups:
    def __init__(
        self, tenants: TenantPools, runs: RunStore, pipelines: PipelineStore, prompts: PromptStore
    ) -> None:
        self._tenants = tenants
        self._runs = runs
        self._pipelines = pipelines
        self._prompts = prompts
        self._known: OrderedDict[RunRef, Setup] = OrderedDict()
        self._specs: OrderedDict[tuple[str, str, int], PipelineSpec] = OrderedDict()

    async def find(self, run: RunRef) -> Setup:
        """Return what a run is done with. Raises RunClosed if it is gone, over or replaced."""
        return self._known.get(run) or await self._read(run)

    def remember(self, run: RunRef, setup: Setup) -> None:
        """Spare the run's further steps a look into the database."""
        self._known[run] = setup
        if len(self._known) > _KNOWN_RUNS:
            self._known.popitem(last=False)

    def forget(self, run: RunRef) -> None:
        self._known.pop(run, None)

    async def prompt(self, tenant_id: str, step: str, version: int) -> PromptVersion:
        """Return a version of a step's prompt. Raises StepImpossible if it is gone."""
        async with self._tenants.connection(tenant_id) as connection:
            prompt = await self._prompts.find(connection, step, version)
        if prompt is None:
            raise StepImpossible("PROMPT_UNUSABLE", f"step {step} has no prompt version {version}")
        return prompt

    async def _read(self, run: RunRef) -> Setup:
        async with self._tenants.connection(run.tenant_id) as connection:
            setup = await self._runs.find_setup(connection, run.run_id)
            if setup is None or setup.epoch != run.epoch or setup.status.final:
                raise RunClosed
            return Setup(setup, await self._spec(connection, run.tenant_id, setup))

    async def _spec(self, connection: Connection, tenant_id: str, run: RunSetup) -> PipelineSpec:
        key = (tenant_id, run.pipeline, run.pipeline_version)
        spec = self._specs.get(key)
        if spec is None:
            version = await self._pipelines.find(connection, run.pipeline, run.pipeline_version)
            if version is None:
                raise RunClosed
            spec = self._specs[key] = version.spec
            if len(self._specs) > _KNOWN_SPECS:
                self._specs.popitem(last=False)
        return spec
