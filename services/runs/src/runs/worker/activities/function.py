"""Steps that call a function."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runs.domain.outputs import FileDraft, output_name
from runs.store.step_outcome import StepOutcome
from runs.worker.activities.cancellation import run_until_cancelled
from runs.worker.function_host.exchange import FunctionCall
from runs.worker.functions import FunctionResult, InstalledFunction, StepContext

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runs.domain.activities import StepRef
    from runs.domain.outputs import FilePointer
    from runs.domain.pipelines import FunctionStep, StepSpec
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.step_inputs import StepInputs
    from runs.worker.function_host.pool import FunctionPool
    from runs.worker.functions import Functions


class WorkFiles:
    """The files that one piece of work may reach, in artifacts."""

    def __init__(self, artifacts: Artifacts, ref: StepRef) -> None:
        self._artifacts = artifacts
        self._work = ref

    async def read(self, pointer: FilePointer) -> bytes:
        (data,) = await self._artifacts.read(self._work.tenant_id, [pointer])
        return data

    def stream(self, pointer: FilePointer) -> AsyncGenerator[bytes]:
        return self._artifacts.stream(self._work.tenant_id, pointer)

    async def write(self, name: str, data: bytes, file_type: str) -> OutputFile:
        ref = self._work
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=f"artifacts/{ref.item}-{ref.visit}/{name}",
            item=ref.item,
            visit=ref.visit,
            file_type=file_type,
        )
        return await self._artifacts.put(ref.tenant_id, draft, data)


class FunctionStepRunner:
    """Our own functions run here, the others in processes of their tenant."""

    def __init__(self, functions: Functions, pool: FunctionPool, artifacts: Artifacts) -> None:
        self._functions = functions
        self._pool = pool
        self._artifacts = artifacts

    async def run(self, spec: StepSpec, step: FunctionStep, inputs: StepInputs) -> StepOutcome:
        """Call the function and commit what it returns as the step's output.

        Raises StepFailed, TimeoutError, what the services refuse, and whatever the function raises.
        """
        ref = inputs.ref
        result = await self._result(spec, step, inputs)
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=output_name(ref.item, ref.visit),
            item=ref.item,
            visit=ref.visit,
            metrics=result.metrics,
        )
        return StepOutcome(await self._artifacts.put(ref.tenant_id, draft, result.data))

    async def _result(
        self, spec: StepSpec, step: FunctionStep, inputs: StepInputs
    ) -> FunctionResult:
        function = self._functions.find(step.function)
        ref, outputs, element = inputs.ref, inputs.outputs, inputs.element()
        files = WorkFiles(self._artifacts, ref)
        if isinstance(function, InstalledFunction):
            call = FunctionCall(
                function, ref, step.arguments, outputs, element, spec.metrics, inputs.mapped
            )
            calling = self._pool.call(call, files, spec.timeout_seconds)
            return await run_until_cancelled(calling)
        async with asyncio.timeout(spec.timeout_seconds):
            context = StepContext(ref, step.arguments, outputs, element, files, inputs.mapped)
            return FunctionResult.of(await function(context), spec.metrics)
