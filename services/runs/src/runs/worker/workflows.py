"""The workflow of a run: it schedules the chains of the plan; activities do the rest.

It runs unsandboxed, so it must be deterministic by itself: no time, no randomness, no I/O, nothing
but its argument and the results of activities. A replay compares the names of activities and their
types, never arguments. Tests replay the histories that a release has recorded.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.domain.activities import RunEnd, RunRef
from runs.domain.chains import chains
from runs.domain.failures import RUN_CLOSED
from runs.domain.plan import Plan, RunStart
from runs.domain.runs import RunStatus
from runs.worker.activities.runs import RunActivities
from runs.worker.chain_scheduler import ChainScheduler, Decisions
from runs.worker.graph_scheduler import GraphScheduler
from runs.worker.scheduling import (
    LOCAL_TIMEOUT,
    ONCE,
    RETRY_FOREVER,
    SHORT_TIMEOUT,
    failure_class,
    run_local_activity,
)
from runs.worker.superseded.workflows import run_steps

_CHAINS_VERSION = 4
"""The version since which an activity walks a chain of steps."""


@workflow.defn(name="PipelineRun", sandboxed=False)
class PipelineRun:
    """Runs a pipeline's plan, and records the run's final status."""

    def __init__(self) -> None:
        self._decisions = Decisions()
        self._chains: ChainScheduler | None = None

    @workflow.signal
    def decided(self) -> None:
        """Take note that there may be a decision of a person: an activity looks for it."""
        self._decisions.count += 1

    @workflow.run
    async def run(self, start: RunStart) -> None:
        run = RunRef(start.tenant_id, start.run_id, start.epoch)
        try:
            plan = Plan.parse(start.plan)
            if start.version < _CHAINS_VERSION:
                recorded = not await run_steps(run, plan, start.version)
            elif plan.graph:
                await GraphScheduler(run, plan, start.version, self._decisions).run()
                recorded = False
            else:
                self._chains = ChainScheduler(run, chains(plan), start.version, self._decisions)
                if start.retry_step:
                    await self._chains.retry(start.retry_step, start.retry_item)
                recorded = await self._chains.run()
            if not recorded:
                await _end_run(start, RunStatus.COMPLETED)
        except BaseException as error:
            if is_cancelled(error):
                await _end_run(start, RunStatus.CANCELLED)
                raise
            if not isinstance(error, Exception):
                raise
            failure = _failure(error)
            if failure.type == RUN_CLOSED and start.version >= _CHAINS_VERSION:
                return
            loop = None if self._chains is None else self._chains.failed_loop
            await _end_run(start, RunStatus.FAILED, failure, loop)
            raise failure from None


async def _end_run(
    start: RunStart,
    status: RunStatus,
    failure: ApplicationError | None = None,
    loop: tuple[str, int] | None = None,
) -> None:
    """Record how a run ended; `loop` is the last step of the loop that failed it, and its visit."""
    reason = "" if failure is None else failure.type or ""
    message = "" if failure is None else failure.message
    step, visit = loop or ("", 1)
    end = RunEnd(
        *(start.tenant_id, start.run_id, start.epoch, status.value),
        *(reason, message, step, visit),
    )
    if start.version < _CHAINS_VERSION:
        await run_local_activity("end", RunActivities.end_run, end)
        return
    try:
        await workflow.execute_local_activity_method(
            RunActivities.end_run,
            end,
            activity_id="end",
            start_to_close_timeout=LOCAL_TIMEOUT,
            retry_policy=ONCE,
        )
    except failure_class(start.version):
        await workflow.execute_activity_method(
            RunActivities.end_run,
            end,
            activity_id="end",
            start_to_close_timeout=SHORT_TIMEOUT,
            retry_policy=RETRY_FOREVER,
        )


def _failure(error: Exception) -> ApplicationError:
    """Return why a run failed, small and final."""
    cause: BaseException | None = error
    while isinstance(cause, (ActivityError, ChildWorkflowError)) and cause.cause is not None:
        cause = cause.cause
    if isinstance(cause, ApplicationError):
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    known = isinstance(cause, FailureError)
    message = str(cause) if known else f"the workflow has a defect ({type(cause).__name__})"
    reason = type(cause).__name__ if known else "ERROR_REASON_INTERNAL"
    return ApplicationError(message, type=reason, non_retryable=True)
