"""Steps that call a function."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer, StepError
from nagaya_functions.calls import FunctionContext, call_function
from runs.domain.outputs import FileDraft, output_name
from runs.domain.pipelines import INPUT
from runs.domain.transitions import StepOutcome
from runs.worker.activities.output_values import read_values, with_values
from runs.worker.function_host.call import FunctionCall
from runs.worker.functions import InstalledFunction, to_step_failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya_functions.calls import FunctionResult
    from runs.domain.activities import StepRef
    from runs.domain.pipelines import FunctionStep, StepSpec
    from runs.worker.activities.buffered_files import OutputFiles
    from runs.worker.activities.step_inputs import StepInputs
    from runs.worker.function_host.pool import FunctionPool
    from runs.worker.functions import BuiltInFunction, FunctionRegistry


class StepFiles:
    """The files that one step may read and write."""

    def __init__(self, files: OutputFiles, ref: StepRef) -> None:
        self._files = files
        self._ref = ref

    async def read(self, file: FilePointer) -> bytes:
        (data,) = await self._files.read(self._ref.tenant_id, [file])
        return data

    def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        return self._files.stream(self._ref.tenant_id, file)

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        ref = self._ref
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=f"artifacts/{ref.item}-{ref.visit}/{name}",
            item=ref.item,
            visit=ref.visit,
            file_type=file_type,
        )
        written = await self._files.put(ref.tenant_id, draft, data)
        return FilePointer(written.output_path, written.output_digest)


class FunctionStepRunner:
    """Calls built-in functions in this process, installed ones in a process of the tenant."""

    def __init__(self, functions: FunctionRegistry, pool: FunctionPool) -> None:
        self._functions = functions
        self._pool = pool

    async def run(
        self, spec: StepSpec, step: FunctionStep, inputs: StepInputs, files: OutputFiles
    ) -> StepOutcome:
        """Call the function and commit what it returns to `files` as the step's output.

        Raises StepFailed, TimeoutError, what the services refuse, and whatever the function raises.
        """
        ref = inputs.ref
        function = self._functions.find(step.function)
        result = await self._result(function, spec, step, inputs, files)
        values = await read_values(result.data, spec.values)
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=output_name(ref),
            item=ref.item,
            visit=ref.visit,
            metrics=result.metrics,
            repeatable=not isinstance(function, InstalledFunction),
        )
        file = await files.put(ref.tenant_id, draft, result.data)
        return StepOutcome(await with_values(files, ref, spec, file, (result.data, values)))

    async def _result(
        self,
        function: BuiltInFunction | InstalledFunction,
        spec: StepSpec,
        step: FunctionStep,
        inputs: StepInputs,
        files: OutputFiles,
    ) -> FunctionResult:
        ref = inputs.ref
        outputs, mapped_steps = inputs.function_outputs()
        if not isinstance(function, InstalledFunction) and INPUT not in spec.needs:
            outputs.pop(INPUT, None)  # `collect` holds what its step needs and nothing else
        context = FunctionContext(
            tenant_id=ref.tenant_id,
            run_id=ref.run_id,
            step=ref.step,
            item=ref.item,
            visit=ref.visit,
            arguments=step.arguments,
            outputs=outputs,
            mapped_steps=mapped_steps,
            element=inputs.element,
            files=StepFiles(files, ref),
        )
        if isinstance(function, InstalledFunction):
            requested = FunctionCall(function.entry_point, context, spec.metrics)
            return await self._pool.call(requested, spec.timeout_seconds)
        async with asyncio.timeout(spec.timeout_seconds):
            try:
                return await call_function(function, context, spec.metrics)
            except StepError as error:
                raise to_step_failure(error) from None
