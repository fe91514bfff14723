"""The activities of a single step, before version 4 of the workflow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio import activity

from runs.domain.activities import MappedList, StepRef, StepResult
from runs.domain.failures import RUN_CLOSED, RunClosed, StepFailed, StepImpossible
from runs.domain.pipelines import LlmStep
from runs.domain.steps import StepStatus
from runs.domain.transitions import StepOutcome
from runs.store import steps
from runs.worker.activities.cancellation import run_until_cancelled
from runs.worker.activities.error_interceptor import to_application_error
from runs.worker.activities.mapped_lists import find_list, put_manifest
from runs.worker.activities.retries import retry_transient
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.pipelines import StepSpec
    from runs.domain.steps import RunStep
    from runs.domain.transitions import StepAttempt
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.mapped_lists import FoundList
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder
    from runs.worker.activities.step_runner import StepRunner


class StepActivities:
    """Temporal calls these by the names of the methods."""

    def __init__(
        self,
        tenants: TenantPools,
        journal: Journal,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        artifacts: Artifacts,
        runner: StepRunner,
    ) -> None:
        self._tenants = tenants
        self._initializer = initializer
        self._journal = journal
        self._input_finder = input_finder
        self._artifacts = artifacts
        self._runner = runner

    @activity.defn
    async def run_step(self, ref: StepRef) -> StepResult:
        """Run a step, or an item of a mapped one, unless it is done; return its output."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            attempt = await retry_transient(lambda: self._journal.begin(ref))
            if attempt is None:
                return await self._earlier_result(ref)
            try:
                outcome = await self._attempt(context, spec, ref, attempt)
            except Exception as error:
                raise await self._failed(spec, ref, attempt, error) from None
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
                outcome = await self._attempt(context, spec, ref, None)
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
                inputs = await self._input_finder.find(context, spec, ref)
                return _mapped(await find_list(self._artifacts, inputs))
            try:
                inputs = await retry_transient(lambda: self._input_finder.find(context, spec, ref))
                if not inputs.condition_holds():
                    await retry_transient(lambda: self._complete(ref, StepOutcome(), attempt))
                    return MappedList(skipped=True)
                return _mapped(await retry_transient(lambda: find_list(self._artifacts, inputs)))
            except Exception as error:
                raise await self._failed(spec, ref, attempt, error) from None

    @activity.defn
    async def close_map(self, ref: StepRef) -> StepResult:
        """End a mapped step: its output is the list of its items' outputs."""
        context = await self._initialize(ref)
        spec = context.spec.step(ref.step)
        with on_behalf_of(tenant_id=ref.tenant_id, user_id=context.run.user_id):
            async with self._tenants.connection(ref.tenant_id) as connection:
                elements = await steps.elements(connection, ref)
                attempt = await steps.current(connection, ref)
            if attempt is None:
                return await self._earlier_result(ref)
            try:
                manifest = await retry_transient(
                    lambda: put_manifest(self._artifacts, ref, elements)
                )
            except Exception as error:
                attempt = replace(attempt, failed_before=activity.info().attempt - 1)
                raise await self._failed(spec, ref, attempt, error) from None
            outcome = StepOutcome(manifest)
            if not await retry_transient(lambda: self._complete(ref, outcome, attempt)):
                return await self._earlier_result(ref)
            return _result(outcome)

    async def _initialize(self, ref: StepRef) -> RunContext:
        try:
            return await self._initializer.initialize(ref.run)
        except RunClosed:
            raise to_application_error(
                StepImpossible(RUN_CLOSED, "the run is over"), final=True
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
        self, context: RunContext, spec: StepSpec, ref: StepRef, attempt: StepAttempt | None
    ) -> StepOutcome:
        running = self._runner.run(context, ref, self._artifacts, attempt)
        if isinstance(spec.kind, LlmStep):
            return await running
        return await run_until_cancelled(running)

    async def _failed(
        self, spec: StepSpec, ref: StepRef, attempt: StepAttempt, error: Exception
    ) -> Exception:
        """Record a failed attempt; return the error for Temporal."""
        failure, final = await self._runner.record_failure(spec, ref, attempt, error)
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
            raise to_application_error(StepImpossible(RUN_CLOSED, "the run is over"), final=True)
        return _result(StepOutcome(row.output))


def _mapped(found: FoundList) -> MappedList:
    return MappedList(found.digest, found.count)


def _result(outcome: StepOutcome) -> StepResult:
    output = outcome.output
    if output is None:
        return StepResult()
    return StepResult(
        output.output_path, output.output_digest, output.summary, dict(output.metrics)
    )
