"""Steps that call a function."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runs.activities.cancellation import hearing_of_cancellation
from runs.domain.outputs import FileDraft, output_name
from runs.function_host.exchange import FunctionCall
from runs.functions import FunctionResult, InstalledFunction, StepContext
from runs.store.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runs.activities.sources import Sources
    from runs.domain.outputs import FilePointer
    from runs.domain.pipelines import FunctionStep, StepSpec
    from runs.domain.runs import OutputFile
    from runs.domain.work import Work
    from runs.function_host.pool import FunctionPool
    from runs.functions import Functions
    from runs.peers.artifacts import Artifacts


class WorkFiles:
    """The files that one piece of work may reach, in artifacts."""

    def __init__(self, artifacts: Artifacts, work: Work) -> None:
        self._artifacts = artifacts
        self._work = work

    async def read(self, pointer: FilePointer) -> bytes:
        (data,) = await self._artifacts.read(self._work.tenant_id, [pointer])
        return data

    def stream(self, pointer: FilePointer) -> AsyncGenerator[bytes]:
        return self._artifacts.stream(self._work.tenant_id, pointer)

    async def write(self, name: str, data: bytes, file_type: str) -> OutputFile:
        work = self._work
        draft = FileDraft(
            run_id=work.run_id,
            step=work.step,
            name=f"artifacts/{work.item}-{work.visit}/{name}",
            item=work.item,
            visit=work.visit,
            file_type=file_type,
        )
        return await self._artifacts.put(work.tenant_id, draft, data)


class FunctionSteps:
    """Our own functions run here, the others in processes of their tenant."""

    def __init__(self, functions: Functions, pool: FunctionPool, artifacts: Artifacts) -> None:
        self._functions = functions
        self._pool = pool
        self._artifacts = artifacts

    async def perform(self, spec: StepSpec, step: FunctionStep, sources: Sources) -> Outcome:
        """Call the function and commit what it returns as the step's output.

        Raises StepFailed, TimeoutError, what the services refuse, and whatever the function raises.
        """
        work = sources.work
        result = await self._result(spec, step, sources)
        draft = FileDraft(
            run_id=work.run_id,
            step=work.step,
            name=output_name(work.item, work.visit),
            item=work.item,
            visit=work.visit,
            metrics=result.metrics,
        )
        return Outcome(await self._artifacts.put(work.tenant_id, draft, result.data))

    async def _result(self, spec: StepSpec, step: FunctionStep, sources: Sources) -> FunctionResult:
        function = self._functions.find(step.function)
        work, outputs, element = sources.work, sources.outputs, sources.element()
        files = WorkFiles(self._artifacts, work)
        if isinstance(function, InstalledFunction):
            call = FunctionCall(
                function, work, step.arguments, outputs, element, spec.metrics, sources.mapped
            )
            calling = self._pool.call(call, files, spec.timeout_seconds)
            return await hearing_of_cancellation(calling)
        async with asyncio.timeout(spec.timeout_seconds):
            context = StepContext(work, step.arguments, outputs, element, files, sources.mapped)
            return FunctionResult.of(await function(context), spec.metrics)
