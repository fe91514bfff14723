"""python -m runs.worker: does the steps of runs, as Temporal hands them out."""

from __future__ import annotations

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dataplane.tenants import connect_data_plane
from runs.activities.admission import Admission, Slots
from runs.activities.beginnings import Beginnings
from runs.activities.edge import Edge
from runs.activities.errors import ErrorFiles
from runs.activities.function import FunctionSteps
from runs.activities.llm import LlmSteps
from runs.activities.runs import RunActivities
from runs.activities.setups import Setups
from runs.activities.sources import SourceFinder
from runs.activities.steps import StepActivities
from runs.builtin import BUILT_IN
from runs.config import WorkerConfig
from runs.function_host.pool import FunctionPool
from runs.functions import Functions
from runs.launcher import connect
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.store.pipelines import PipelineStore
from runs.store.prompts import PromptStore
from runs.store.runs import RunStore
from runs.store.steps import StepStore
from runs.store.transitions import RunTransitions
from runs.workflows import ITEMS_IN_WORKFLOW, MapPartRun, PipelineRun
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from servicekit.process import run
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import grpc
    from temporalio.client import Client

    from dataplane.tenants import DataPlane

_GRACE = timedelta(seconds=20)
_HEARTBEAT_INTERVAL = timedelta(seconds=1)
_WORKFLOW_THREADS = 2  # they only compute, and more would fight for the interpreter's lock
_WORKFLOW_TASKS = 100  # more of them last so long, when all have work, that Temporal gives them up
_log = logging.getLogger(__name__)


async def work(config: WorkerConfig) -> None:
    telemetry.start("runs-worker", config.process)  # first: clients ask it for spans
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    signer = WorkloadSigner.from_file("runs", config.process.workload_key_file)
    async with (
        open_channel(config.tenant_address, signer, peer="tenant") as tenant,
        open_channel(
            config.artifacts_address, signer, peer="artifacts", streaming=True
        ) as artifacts,
        open_channel(config.llm_gateway_address, signer, peer="llm-gateway") as gateway,
        connect_data_plane(tenant, "runs", config.connections) as data,
    ):
        client = await _unless(asked, _client(config, data))
        if client is None:
            _log.info("stopped before there was anything to do")
            return
        pool = FunctionPool(config.functions, config.tenant_share)
        runs, steps = _activities(data, artifacts, gateway, pool)
        activities = [
            runs.begin_run,
            runs.end_run,
            steps.run_step,
            steps.run_short_step,
            steps.open_map,
            steps.close_map,
        ]
        slots = Slots(config.steps_at_once, config.tenant_share)
        worker = make_worker(client, config.temporal.task_queue, activities, slots)
        async with pool.running():
            await _run_until(asked, worker)


def make_worker(
    client: Client, task_queue: str, activities: Sequence[Callable[..., object]], slots: Slots
) -> Worker:
    """Make a worker on which one tenant's work does not keep out another's."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[PipelineRun, MapPartRun],
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_task_executor=ThreadPoolExecutor(_WORKFLOW_THREADS),
        interceptors=[Admission(slots), Edge()],
        max_concurrent_activities=slots.count,
        max_concurrent_workflow_tasks=_WORKFLOW_TASKS,
        # Whatever these may ask for at once: no one's map keeps out another's begin and end.
        max_concurrent_local_activities=_WORKFLOW_TASKS * ITEMS_IN_WORKFLOW,
        max_workflow_task_external_storage_concurrency=1,  # there is none: spares tasks for it
        max_heartbeat_throttle_interval=_HEARTBEAT_INTERVAL,
        default_heartbeat_throttle_interval=_HEARTBEAT_INTERVAL,
        graceful_shutdown_timeout=_GRACE,
    )


def _activities(
    data: DataPlane,
    artifacts_channel: grpc.aio.Channel,
    gateway_channel: grpc.aio.Channel,
    pool: FunctionPool,
) -> tuple[RunActivities, StepActivities]:
    artifacts, gateway = Artifacts(artifacts_channel), LlmGateway(gateway_channel)
    tenants = data.tenants
    setups = Setups(tenants, RunStore(), PipelineStore(), PromptStore())
    store, transitions = StepStore(), RunTransitions()
    beginnings = Beginnings(tenants, setups, transitions, artifacts)
    runs = RunActivities(data, setups, beginnings, transitions, store, gateway)
    steps = StepActivities(
        tenants,
        beginnings,
        store,
        SourceFinder(store),
        artifacts,
        LlmSteps(setups, gateway, artifacts),
        FunctionSteps(Functions.found(BUILT_IN), pool, artifacts),
        ErrorFiles(artifacts),
    )
    return runs, steps


async def _unless(asked: asyncio.Event, waiting: Coroutine[None, None, Client]) -> Client | None:
    """Wait for a client; return None if the process is asked to end before."""
    client, end = asyncio.create_task(waiting), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((client, end), return_when=asyncio.FIRST_COMPLETED)
        return client.result() if client.done() else None
    finally:
        client.cancel()
        end.cancel()


async def _client(config: WorkerConfig, data: DataPlane) -> Client:
    """Connect to Temporal, waiting until it is there and the tenants are known."""
    await data.directory.ready()
    address = config.temporal.address
    log = RetryLog(_log, "temporal.unavailable", "waiting for Temporal", address=address)
    # With a RuntimeError the SDK says that it cannot connect.
    return await retry(lambda: connect(config.temporal, lazy=False), RuntimeError, log)


async def _run_until(asked: asyncio.Event, worker: Worker) -> None:
    """Work until SIGTERM or SIGINT; then take nothing new and finish what can be finished."""
    lag = asyncio.create_task(telemetry.watch_loop_lag())
    async with worker:
        _log.info("working", extra={"task_queue": worker.task_queue})
        await asked.wait()
        _log.info("finishing")
    lag.cancel()
    _log.info("stopped")


if __name__ == "__main__":
    run("runs-worker", lambda: work(WorkerConfig.read()))
