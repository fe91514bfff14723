"""The activities that run steps: begin an attempt, run it, record its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio import activity

from jsonvalues import canonical
from runs.domain.activities import MappedList, StepRef, StepResult
from runs.domain.conditions import evaluate_condition
from runs.domain.failures import ReadTooLarge, RunClosed, StepFailed, StepImpossible
from runs.domain.moves import StepOutcome
from runs.domain.outputs import BYTES_AT_ONCE, MAP_LIMIT, OUTPUT, FileDraft, parse_json
from runs.domain.pipelines import LlmStep
from runs.domain.steps import StepStatus
from runs.store import steps
from runs.worker.activities.error_interceptor import to_application_error
from runs.worker.activities.retries import retry_transient
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.moves import StepAttempt
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.domain.steps import RunStep
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.error_files import ErrorFiles
    from runs.worker.activities.function import FunctionStepRunner
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.llm import LlmStepRunner
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder, StepInputs

_MOST_LOST = 20
"""Attempts lost, for example with their worker, before a step fails."""


class StepActivities:
    """Temporal calls these by the names of the methods."""

    def __init__(
        self,
        tenants: TenantPools,
        journal: Journal,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        artifacts: Artifacts,
        llm: LlmStepRunner,
        functions: FunctionStepRunner,
        errors: ErrorFiles,
    ) -> None:
        self._tenants = tenants
        self._initializer = initializer
        self._journal = journal
        self._input_finder = input_finder
        self._artifacts = artifacts
        self._llm = llm
        self._functions = functions
        self._errors = errors

    @activity.defn
    async def run_step(self, ref: StepRef) -> StepResult:
        """Run a step, or an item of a mapped one, unless it is done; return its output."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            attempt = await retry_transient(lambda: self._journal.begin(ref))
            if attempt is None:
                return await self._earlier_result(ref)
            outcome = await self._attempt(context, spec, ref, attempt)
            if not await retry_transient(lambda: self._complete(ref, outcome, attempt)):
                return await self._earlier_result(ref)
            return _result(outcome)

    @activity.defn
    async def run_short_step(self, ref: StepRef) -> StepResult:
        """Run a step that may run twice without harm, and record it at once."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            try:
                outcome = await self._run(context, spec, ref)
            except Exception as error:
                attempt = await retry_transient(lambda: self._journal.begin(ref))
                if attempt is None:
                    return await self._earlier_result(ref)
                raise await self._failed(spec, ref, attempt, error) from None
            if not await retry_transient(lambda: self._complete(ref, outcome)):
                return await self._earlier_result(ref)
            return _result(outcome)

    @activity.defn
    async def open_map(self, ref: StepRef) -> MappedList:
        """Begin a mapped step; return how long its list is."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            attempt = await retry_transient(lambda: self._journal.begin(ref))
            if attempt is None and (await self._earlier_result(ref)).output_path == "":
                return MappedList(skipped=True)
            if attempt is None:
                return await self._list(await self._find_inputs(context, spec, ref), ref)
            try:
                inputs = await retry_transient(lambda: self._find_inputs(context, spec, ref))
                if not _condition_holds(spec, inputs):
                    await retry_transient(lambda: self._complete(ref, StepOutcome(), attempt))
                    return MappedList(skipped=True)
                return await retry_transient(lambda: self._list(inputs, ref))
            except Exception as error:
                raise await self._failed(spec, ref, attempt, error) from None

    @activity.defn
    async def close_map(self, ref: StepRef) -> StepResult:
        """End a mapped step: its output is the list of its items' outputs."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            async with self._tenants.connection(ref.tenant_id) as connection:
                items = await steps.items(connection, ref.run_id, ref.step)
                attempt = await steps.current(connection, ref)
            if attempt is None:
                return await self._earlier_result(ref)
            try:
                outcome = StepOutcome(await retry_transient(lambda: self._put_manifest(ref, items)))
            except Exception as error:
                attempt = replace(attempt, failed_before=activity.info().attempt - 1)
                raise await self._failed(spec, ref, attempt, error) from None
            if not await retry_transient(lambda: self._complete(ref, outcome, attempt)):
                return await self._earlier_result(ref)
            return _result(outcome)

    async def _put_manifest(self, ref: StepRef, items: Sequence[OutputFile]) -> OutputFile:
        manifest = {
            "items": [
                {
                    "path": item.output_path,
                    "digest": item.output_digest,
                    "summary": item.summary,
                    "metrics": item.numbers,
                }
                for item in items
            ]
        }
        summary = f"{len(items):,} items"
        metrics = {"items": len(items)}
        draft = FileDraft(ref.run_id, ref.step, OUTPUT, summary=summary, metrics=metrics)
        data = canonical(manifest)
        if len(data) > BYTES_AT_ONCE:
            raise StepImpossible(
                "OUTPUT_TOO_LARGE",
                f"what names the outputs of {len(items):,} elements takes {len(data):,} bytes, at "
                f"most {BYTES_AT_ONCE:,} are possible: map over fewer",
            )
        return await self._artifacts.put(ref.tenant_id, draft, data)

    async def _initialize(self, ref: StepRef) -> RunContext:
        try:
            return await self._initializer.initialize(ref.run)
        except RunClosed:
            raise to_application_error(
                StepImpossible("RUN_CLOSED", "the run is over"), final=True
            ) from None

    async def _complete(
        self, ref: StepRef, outcome: StepOutcome, attempt: StepAttempt | None = None
    ) -> bool:
        """Record a step as completed; a short one without the attempt, which it has not begun."""
        if attempt is None:
            done = await self._journal.complete_at_once(ref, outcome)
        else:
            done = await self._journal.complete(ref, attempt, outcome)
        if done:
            self._input_finder.put(ref, outcome.output)
        return done

    async def _attempt(
        self, context: RunContext, spec: StepSpec, ref: StepRef, attempt: StepAttempt
    ) -> StepOutcome:
        try:
            if attempt.lost_before >= _MOST_LOST:
                raise StepImpossible("WORKER_LOST", f"{_MOST_LOST} attempts were lost")
            return await self._run(context, spec, ref)
        except Exception as error:
            raise await self._failed(spec, ref, attempt, error) from None

    async def _run(self, context: RunContext, spec: StepSpec, ref: StepRef) -> StepOutcome:
        async def once() -> StepOutcome:
            inputs = await self._find_inputs(context, spec, ref)
            if spec.map is None and not _condition_holds(spec, inputs):
                return StepOutcome()
            if isinstance(spec.kind, LlmStep):
                async with asyncio.timeout(spec.timeout_seconds):
                    return await self._llm.run(context, spec, spec.kind, inputs)
            return await self._functions.run(spec, spec.kind, inputs)

        return await retry_transient(once)

    async def _find_inputs(self, context: RunContext, spec: StepSpec, ref: StepRef) -> StepInputs:
        async with self._tenants.connection(ref.tenant_id) as connection:
            return await self._input_finder.find(connection, context, spec, ref)

    async def _list(self, inputs: StepInputs, ref: StepRef) -> MappedList:
        pointer = inputs.list_pointer()
        elements = inputs.elements()
        if elements is not None:
            return MappedList(pointer.digest, len(elements))
        try:
            (data,) = await self._artifacts.read(ref.tenant_id, [pointer])
        except ReadTooLarge as error:
            hint = "let its elements name files, which functions write, instead of holding them"
            message = f"{error.why}, too much for a list that a step is mapped over: {hint}"
            raise StepImpossible("LIST_TOO_LARGE", message) from None
        value = parse_json(data)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise StepImpossible("MAP_NOT_A_LIST", f"there is no list at {pointer.json_pointer!r}")
        if len(value) > MAP_LIMIT:
            raise StepImpossible(
                "LIST_TOO_LONG",
                f"the list has {len(value):,} elements, a step is mapped over at most "
                f"{MAP_LIMIT:,}: divide it among several steps or runs",
            )
        return MappedList(pointer.digest, len(value))

    async def _failed(
        self, spec: StepSpec, ref: StepRef, attempt: StepAttempt, error: Exception
    ) -> Exception:
        """Record a failed attempt; return the error for Temporal."""
        failure = await self._errors.failure(ref, attempt.attempt, error)
        final = failure.final or attempt.failed_before + 1 >= spec.retry.max_attempts
        calls_model = isinstance(spec.kind, LlmStep)
        usage = await self._llm.usage(ref) if final and calls_model else None
        await retry_transient(lambda: self._journal.fail(ref, attempt, failure, usage, final=final))
        return to_application_error(failure, final=final, failures=attempt.failed_before + 1)

    async def _earlier_result(self, ref: StepRef) -> StepResult:
        """Return the output of an earlier attempt.

        While another attempt runs, Temporal is to try again: that one may have been given up, and
        its worker be lost.
        """

        async def find() -> RunStep | None:
            async with self._tenants.connection(ref.tenant_id) as connection:
                return await steps.find(connection, ref)

        row = await retry_transient(find)
        if row is not None and row.status is StepStatus.RUNNING:
            replaced = StepFailed("ATTEMPT_REPLACED", "another attempt has taken over")
            raise to_application_error(replaced, final=False)
        if row is None or row.status not in (StepStatus.COMPLETED, StepStatus.SKIPPED):
            raise to_application_error(StepImpossible("RUN_CLOSED", "the run is over"), final=True)
        return _result(StepOutcome(row.output))


def _condition_holds(spec: StepSpec, inputs: StepInputs) -> bool:
    return not spec.when or evaluate_condition(spec.when, inputs.metrics)


def _result(outcome: StepOutcome) -> StepResult:
    output = outcome.output
    if output is None:
        return StepResult()
    return StepResult(
        output.output_path, output.output_digest, output.summary, dict(output.metrics)
    )
