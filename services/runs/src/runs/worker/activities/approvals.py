"""Steps that wait for a person: asking, and what comes of the answer.

The workflow waits in between. It is told that there may be a decision, or its timer ends; what is
true stands in the database, and is looked up there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.activities import Walked
from runs.domain.approvals import (
    APPROVED,
    REJECTED,
    ApprovalDraft,
    ApprovalState,
    OnTimeout,
)
from runs.domain.failures import RunClosed, StepImpossible
from runs.domain.outputs import FileDraft, output_name
from runs.domain.pipelines import ApprovalStep
from runs.domain.transitions import StepOutcome, Transitions
from runs.store import approvals
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import StepGivenUp, StepRetry, pause
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.activities import StepRef, Walk
    from runs.domain.approvals import Approval
    from runs.domain.pipelines import StepSpec
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder
    from runs.worker.activities.step_runner import StepRunner


class ApprovalWalker:
    """Does the steps that wait for a person."""

    def __init__(
        self,
        tenants: TenantPools,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        artifacts: Artifacts,
        runner: StepRunner,
        journal: Journal,
    ) -> None:
        self._tenants = tenants
        self._initializer = initializer
        self._input_finder = input_finder
        self._artifacts = artifacts
        self._runner = runner
        self._journal = journal

    async def walk(self, walk: Walk) -> Walked:
        """Ask, unless that is done, and end the step if there is a decision or the time is up.

        Returns whether it waits, and for how long at most. Raises StepRetry, StepGivenUp and
        RunClosed.
        """
        context = await self._initializer.initialize(walk.run)
        ref = walk.ref(walk.steps[0])
        spec = context.spec.step(ref.step)
        kind = _kind(spec)
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            done = (await retry_transient(lambda: self._journal.ended(walk.run, [ref]))).done
            if ref in done:
                self._input_finder.put(ref, done[ref])
                return Walked()
            try:
                draft = await retry_transient(lambda: self._draft(context, spec, kind, ref))
            except Exception as error:
                await self._fail(spec, ref, error)
                raise
            if draft is None:
                skipped = Transitions(whole=((ref, StepOutcome()),))
                await retry_transient(lambda: self._journal.advance(walk.run, skipped))
                self._input_finder.put(ref, None)
                return Walked()
            approval = await retry_transient(lambda: self._ask(ref, draft))
            if approval.state is ApprovalState.OPEN:
                wait_ms = 0 if approval.expire_time is None else max(1, approval.remaining_ms)
                return Walked(waiting=True, wait_ms=wait_ms)
            await self._end(ref, kind, approval)
        return Walked()

    async def _end(self, ref: StepRef, kind: ApprovalStep, approval: Approval) -> None:
        """End a step whose question has been decided, or has expired."""
        decision = _decision(kind, approval)
        if isinstance(decision, StepImpossible):
            await retry_transient(lambda: self._record_failure(ref, decision))
            raise StepGivenUp(decision)
        await self._complete(ref, approval, decision)

    async def _draft(
        self, context: RunContext, spec: StepSpec, kind: ApprovalStep, ref: StepRef
    ) -> ApprovalDraft | None:
        """Return what is asked; None if the step's condition is false."""
        inputs = await self._input_finder.find(context, spec, ref)
        if not inputs.condition_holds():
            return None
        found = [inputs.pieces(subject) for subject in kind.subjects]
        return ApprovalDraft(
            question=kind.question,
            subjects=[each for pieces in found for each in pieces if not isinstance(each, str)],
            user_ids=kind.user_ids,
            permissions=kind.permissions,
            excludes_creator=kind.excludes_creator,
            comment_required=kind.comment_required,
            timeout_seconds=kind.timeout_seconds,
        )

    async def _ask(self, ref: StepRef, draft: ApprovalDraft) -> Approval:
        """Return the question as it is now. Raises RunClosed."""
        async with self._tenants.transaction(ref.tenant_id) as connection:
            found = await approvals.ask(connection, ref, draft)
            if found is None and await approvals.is_to_stop(connection, ref):
                raise RunStopping
        if found is None or found.state is ApprovalState.CLOSED:
            raise RunClosed
        return found

    async def _complete(self, ref: StepRef, approval: Approval, decision: str) -> None:
        """Leave the decision as the step's output: the same bytes whoever does it."""
        ended = approval.end_time
        values: dict[str, str | bool] = {
            "decision": decision,
            "approved": decision == APPROVED,
            "timed_out": approval.state is ApprovalState.EXPIRED,
            "user_id": approval.user_id,
        }
        answer = {
            **values,
            "comment": approval.comment,
            "decide_time": "" if ended is None else ended.isoformat(),
        }
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=output_name(ref),
            item=ref.item,
            visit=ref.visit,
            repeatable=True,
        )
        data = canonical(answer)
        file = await retry_transient(lambda: self._artifacts.put(ref.tenant_id, draft, data))
        outcome = StepOutcome(replace(file, values=values))
        await retry_transient(lambda: self._record(ref, outcome))
        self._input_finder.put(ref, outcome.output)

    async def _record(self, ref: StepRef, outcome: StepOutcome) -> None:
        async with self._tenants.connection(ref.tenant_id) as connection:
            recorded = await approvals.complete(connection, ref, outcome)
        if not recorded and ref not in (await self._journal.ended(ref.run, [ref])).done:
            raise RunClosed

    async def _record_failure(self, ref: StepRef, failure: StepImpossible) -> None:
        async with self._tenants.connection(ref.tenant_id) as connection:
            await approvals.fail(connection, ref, failure)

    async def _fail(self, spec: StepSpec, ref: StepRef, error: Exception) -> None:
        """Record that it could not be asked. Raises StepRetry or StepGivenUp, or RunClosed."""
        begun = Transitions(begun=(ref,))
        advanced = await retry_transient(lambda: self._journal.advance(ref.run, begun))
        (attempt,) = advanced.begun
        if attempt is None:
            raise (RunClosed if advanced.stop is None else RunStopping) from None
        failure, final = await self._runner.record_failure(spec, ref, attempt, error)
        if final:
            raise StepGivenUp(failure) from None
        raise StepRetry(failure, pause(spec, failure, attempt.failed_before + 1)) from None


def _kind(spec: StepSpec) -> ApprovalStep:
    if not isinstance(spec.kind, ApprovalStep):
        raise TypeError(f"step {spec.step} asks nobody")
    return spec.kind


def _decision(kind: ApprovalStep, approval: Approval) -> str | StepImpossible:
    """Return the decision that a question has ended with, or why its step fails."""
    match approval.state:
        case ApprovalState.EXPIRED if kind.on_timeout is OnTimeout.FAIL:
            return StepImpossible("APPROVAL_EXPIRED", "nobody has decided in time")
        case ApprovalState.EXPIRED:
            decision = kind.on_timeout.value
        case _:
            decision = approval.state.value
    if decision == REJECTED and not kind.goes_on_when_rejected:
        who = approval.user_id or "nobody, in time, so that it counts as rejected"
        return StepImpossible("APPROVAL_REJECTED", f"it was rejected by {who}")
    return decision
