"""Runs stay with the build of the worker on which they began; builds without runs are removed."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerDeploymentConfig,
)
from temporalio.workflow import NondeterminismError
from tests.integration.runs.recording_worker import RESULT, RecordedActivities, connect
from tests.support.waiting import wait_until

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.temporal import TemporalServer
from runs.api.launcher import Launcher
from runs.domain.activities import RunRef, StepRef, StepResult
from runs.domain.plan import FIRST_EPOCH, WORKFLOW_VERSION, Plan, PlanStep, RunStart
from runs.temporal.client import data_converter
from runs.temporal.deployments import (
    VersionState,
    VersionUnknown,
    WorkerDeployments,
    deployment_name,
)
from runs.worker.activities.runs import RunActivities
from runs.worker.scheduling import SHORT_TIMEOUT
from runs.worker.workflows import PipelineRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from temporalio.client import Client

NONDETERMINISM = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
RUNS = int(os.environ.get("DEPLOYED_RUNS", "20"))
BEFORE = Plan((PlanStep("a"), PlanStep("deaf", needs=("a",)), PlanStep("c", needs=("deaf",))))
AFTER = Plan((PlanStep("c"), PlanStep("a", needs=("c",)), PlanStep("b", needs=("a",))))


@workflow.defn(name="PipelineRun", sandboxed=False)
class OtherPipelineRun(PipelineRun):
    """A build whose workflow does something else first: it could replay no run of the other."""

    @workflow.run
    async def run(self, start: RunStart) -> None:
        await workflow.execute_activity_method(
            RunActivities.begin_run,
            RunRef(start.tenant_id, start.run_id, start.epoch),
            start_to_close_timeout=SHORT_TIMEOUT,
        )
        await super().run(start)


class HeldActivities(RecordedActivities):
    """Steps called `deaf` wait until they may end, and give signs of life."""

    held: int = 0
    """How many of them have begun."""

    async def hold(self, count: int) -> None:
        """Return once so many have begun: their runs stay with the build of this worker."""

        async def all_held() -> bool:
            return self.held >= count

        await wait_until(all_held)

    @activity.defn
    async def run_step(self, work: StepRef) -> StepResult:
        if work.step == "deaf":
            self.held += 1
            while not self.deaf_may_end.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.5)
        self.done.append((work.step, work.item))
        return RESULT


@asynccontextmanager
async def deployed(
    client: Client, build_id: str, recorded: RecordedActivities, kind: type[PipelineRun]
) -> AsyncGenerator[None]:
    """Run a worker of a build."""
    name = deployment_name(client.identity)
    async with Worker(
        client,
        task_queue=client.identity,
        workflows=[kind],
        activities=recorded.activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        deployment_config=WorkerDeploymentConfig(
            WorkerDeploymentVersion(name, build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        ),
    ):
        try:
            yield
        finally:
            recorded.deaf_may_end.set()


@pytest.fixture(scope="module")
def forgetful_temporal(parts_folder: Path) -> Iterator[TemporalServer]:
    """A Temporal server that removes a build as soon as its workers have ended.

    Others remember for five minutes who asked for work, unless a worker that ends is quick.
    """
    folder = parts_folder / "forgetful-temporal"
    server = TemporalServer(folder, free_port(), settings={"matching.PollerHistoryTTL": '"1s"'})
    with running_from_sync(server, parts_folder / "forgetful-temporal.log", seconds=120):
        yield server


@pytest.fixture
async def client(forgetful_temporal: TemporalServer) -> Client:
    """A client that bears the name of a task queue of its own."""
    return await connect(forgetful_temporal.address, f"builds-{uuid.uuid4().hex[:8]}")


async def start(client: Client, plan: Plan) -> str:
    run = RunStart("acme", str(uuid.uuid4()), FIRST_EPOCH, plan.compact(), WORKFLOW_VERSION)
    await Launcher(client, client.identity).start(run)
    return run.workflow_id


async def make_current(deployments: WorkerDeployments, client: Client, build_id: str) -> None:
    async def current() -> bool:
        try:
            await deployments.make_current(deployment_name(client.identity), build_id)
        except VersionUnknown:
            return False  # its worker has not asked for work yet
        return True

    await wait_until(current)


async def state(
    deployments: WorkerDeployments, client: Client, build_id: str
) -> VersionState | None:
    name = deployment_name(client.identity)
    found = [
        one.state
        for one in await deployments.versions()
        if (one.deployment, one.build_id) == (name, build_id)
    ]
    return found[0] if found else None


async def test_runs_end_on_their_build_and_it_is_removed_then(client: Client) -> None:
    deployments = WorkerDeployments(client, deployment_name(client.identity))
    first, second = HeldActivities(), HeldActivities()
    async with deployed(client, "two", second, OtherPipelineRun):
        async with deployed(client, "one", first, PipelineRun):
            await make_current(deployments, client, "one")
            old = [await start(client, BEFORE) for _ in range(RUNS)]
            await first.hold(RUNS)  # one that has not begun yet would begin on the next build
            await make_current(deployments, client, "two")
            new = [await start(client, AFTER) for _ in range(RUNS)]
            await ended(client, new)

            async def draining() -> bool:
                return await state(deployments, client, "one") is VersionState.DRAINING

            await wait_until(draining)
            assert await deployments.remove_drained() == []
            first.deaf_may_end.set()
            await ended(client, old)

        async def removed() -> bool:
            await deployments.remove_drained()
            return await state(deployments, client, "one") is None

        await wait_until(removed, seconds=60.0, pause=0.5)
        assert await state(deployments, client, "two") is VersionState.CURRENT

    for workflow_ids, own, other in (
        (old, PipelineRun, OtherPipelineRun),
        (new, OtherPipelineRun, PipelineRun),
    ):
        histories = [await client.get_workflow_handle(one).fetch_history() for one in workflow_ids]
        for history in histories:
            # A task may fail on a machine that is too busy; of another build it fails like this.
            assert NONDETERMINISM not in {
                event.workflow_task_failed_event_attributes.cause for event in history.events
            }
            await replayer(own).replay_workflow(history)
        with pytest.raises(NondeterminismError):  # or else nothing was at stake
            await replayer(other).replay_workflow(histories[0])
    assert len(first.statuses) == len(second.statuses) == RUNS


def replayer(kind: type[PipelineRun]) -> Replayer:
    return Replayer(
        workflows=[kind],
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=data_converter(),
    )


async def ended(client: Client, workflow_ids: list[str]) -> None:
    await asyncio.gather(*(client.get_workflow_handle(one).result() for one in workflow_ids))


async def test_a_build_of_which_there_is_no_worker_does_not_become_current(client: Client) -> None:
    deployments = WorkerDeployments(client, deployment_name(client.identity))
    async with deployed(client, "one", RecordedActivities(), PipelineRun):
        await make_current(deployments, client, "one")
        with pytest.raises(VersionUnknown):
            await deployments.make_current(deployment_name(client.identity), "three")
    assert await state(deployments, client, "one") is VersionState.CURRENT
