"""Starts the workflows of runs.

The client connects when it is first needed and reconnects by itself. For a moment after a failure,
calls fail at once, so that an absent Temporal does not slow down those who can do without it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from runs.domain.installed import queue_name
from runs.domain.plan import FIRST_EPOCH, workflow_id
from runs.domain.tenant_limits import usual_limits
from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from temporalio.client import Client, WorkflowHandle

    from runs.domain.plan import RunStart
    from runs.domain.tenant_limits import LimitsOf

WORKFLOW = "PipelineRun"
EPOCH = "epoch"
"""The memo of workflows after a run's first: which of the run's epochs they are for."""
CALL = timedelta(seconds=5)

_LONGEST_SECONDS = 8.0
_PAUSE_SECONDS = 1.0
_ENDING_SECONDS = 2.0
_ENDING_PAUSE_SECONDS = 0.05
_FAIRNESS_KEY_LENGTH = 64


class RunStarter:
    """Starts the workflows of runs. Raises TemporalUnavailable."""

    def __init__(self, client: Client, task_queue: str, limits: LimitsOf = usual_limits) -> None:
        self._client = client
        self._limits = limits
        self._task_queue = task_queue
        self._unavailable_until = 0.0

    async def start(self, start: RunStart, task_queue: str = "") -> None:
        """Start a run's workflow, on its pipeline's own task queue if that has one.

        Starting it again, or once it has ended, changes nothing.

        The workflow of an earlier epoch, which changes nothing any more, is given two seconds to
        end, and is terminated then.
        """
        queue = queue_name(self._task_queue, task_queue)
        async with self._translated_errors():
            if start.epoch == FIRST_EPOCH:
                with suppress(WorkflowAlreadyStartedError):
                    await self._start(
                        start,
                        queue,
                        WorkflowIDReusePolicy.REJECT_DUPLICATE,
                        WorkflowIDConflictPolicy.USE_EXISTING,
                    )
                return
            until = time.monotonic() + _ENDING_SECONDS
            while earlier := await self._start_next(start, queue):
                if time.monotonic() > until:
                    await self._terminate(start, earlier)
                await asyncio.sleep(_ENDING_PAUSE_SECONDS)

    async def _start_next(self, start: RunStart, queue: str) -> str:
        """Start the workflow of a later epoch.

        Returns the execution id of the workflow of an earlier one, which has to end before; empty
        where there is none, or nothing to start, since the epoch's or a later one's has started.
        """
        try:
            await self._start(
                start,
                queue,
                WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                WorkflowIDConflictPolicy.FAIL,
                memo={EPOCH: start.epoch},
            )
        except WorkflowAlreadyStartedError:
            described = await self._handle(start.tenant_id, start.run_id).describe(rpc_timeout=CALL)
            memo = await described.memo()
            return described.run_id if memo.get(EPOCH, FIRST_EPOCH) < start.epoch else ""
        return ""

    async def _terminate(self, start: RunStart, execution_id: str) -> None:
        """Terminate one of a run's workflows, unless it has ended: never whichever runs by then."""
        handle = self._handle(start.tenant_id, start.run_id, execution_id)
        try:
            await handle.terminate(rpc_timeout=CALL)
        except RPCError as error:
            if not no_workflow(error):
                raise

    async def _start(
        self,
        start: RunStart,
        queue: str,
        reuse: WorkflowIDReusePolicy,
        conflict: WorkflowIDConflictPolicy,
        memo: Mapping[str, int] | None = None,
    ) -> None:
        await self._client.start_workflow(
            WORKFLOW,
            start,
            id=start.workflow_id,
            task_queue=queue,
            id_reuse_policy=reuse,
            id_conflict_policy=conflict,
            memo=memo,
            priority=Priority(
                fairness_key=start.tenant_id[:_FAIRNESS_KEY_LENGTH],
                fairness_weight=self._limits(start.tenant_id).weight,
            ),
            rpc_timeout=CALL,
        )

    def _handle(
        self, tenant_id: str, run_id: str, execution_id: str = ""
    ) -> WorkflowHandle[object, object]:
        return self._client.get_workflow_handle(
            workflow_id(tenant_id, run_id), run_id=execution_id or None
        )

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncGenerator[None]:
        """Turn what says that Temporal cannot be reached into TemporalUnavailable."""
        if time.monotonic() < self._unavailable_until:
            raise TemporalUnavailable("Temporal could not be reached a moment ago")
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                yield
        except TimeoutError as error:  # a client that is still to connect waits without end
            raise self._unavailable("Temporal does not answer") from error
        except RPCError as error:
            raise self._unavailable(f"Temporal answered {error.status.name}") from error
        except RuntimeError as error:  # so the SDK says that a lazy client cannot connect
            raise self._unavailable("Temporal cannot be reached") from error

    def _unavailable(self, message: str) -> TemporalUnavailable:
        self._unavailable_until = time.monotonic() + _PAUSE_SECONDS
        return TemporalUnavailable(message)


def no_workflow(error: RPCError) -> bool:
    """Return whether the workflow is unknown. An unknown namespace has the same code."""
    kinds = [detail.type_url.rsplit(".", 1)[-1] for detail in error.grpc_status.details]
    return error.status is RPCStatusCode.NOT_FOUND and "NotFoundFailure" in kinds
