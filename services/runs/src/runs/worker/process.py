"""The process of the worker: does the steps of runs, as Temporal hands them out."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from dataplane.migrations import least_number, publish, read_migrations
from dataplane.tenants import connect_data_plane
from runs.config import MIGRATIONS, WorkerConfig
from runs.domain.installed import queue_name
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.temporal.client import connect
from runs.temporal.renewal import renewing
from runs.temporal.run_starter import RunStarter
from runs.temporal.task_queues import TaskQueues
from runs.tenant_limit_cache import TenantLimitCache
from runs.worker.activities.admission import WorkerSlots
from runs.worker.activities.next_runs import NextRuns
from runs.worker.builtin import BUILT_IN
from runs.worker.composition import InstalledCode, make_activities
from runs.worker.function_host.pool import FunctionPool
from runs.worker.functions import FunctionRegistry
from runs.worker.graphs import GraphRegistry
from runs.worker.metrics import FUNCTION_PROCESSES, SLOTS, SLOTS_USED
from runs.worker.polling import PollingCheck
from runs.worker.registration import Registration
from runs.worker.temporal_worker import make_worker
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from servicekit.process import run
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import grpc
    from temporalio.client import Client
    from temporalio.worker import Worker

    from dataplane.tenants import DataPlane
    from monitoring.probes import Probes

_log = logging.getLogger(__name__)


async def work(config: WorkerConfig) -> None:
    """Do steps until SIGTERM or SIGINT."""
    probes = telemetry.start("runs-worker", config.process)  # first: clients ask it for spans
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    least = least_number(read_migrations(MIGRATIONS))
    signer = WorkloadSigner.from_file("runs", config.process.workload_key_file)
    async with (
        open_channel(config.tenant_address, signer, peer="tenant") as tenant,
        open_channel(
            config.artifacts_address, signer, peer="artifacts", streaming=True
        ) as artifacts,
        open_channel(config.llm_gateway_address, signer, peer="llm-gateway") as gateway,
        connect_data_plane(tenant, "runs", config.connections, least) as data,
    ):
        client = await _unless_stopped(stop, _client(config, tenant, data, probes))
        if client is None:
            _log.info("stopped before there was anything to do", extra={"event": "worker.stopped"})
            return
        pool = FunctionPool(config.functions, config.tenant_share)
        code = InstalledCode(FunctionRegistry.discover(BUILT_IN), GraphRegistry.discover())
        limits = TenantLimitCache(data.management)
        slots = WorkerSlots(config.steps_at_once, config.tenant_share, limits=limits.of)
        peers = Artifacts(artifacts, data.directory.path_prefix), LlmGateway(gateway)
        starter = RunStarter(client, config.temporal.task_queue, limits.of)
        next_runs = NextRuns(data.tenants, starter, limits.of, limits.are_known)
        activities = make_activities(data, *peers, code, pool, slots, next_runs.start)
        task_queue = queue_name(config.temporal.task_queue, config.runs.pipeline_queue)
        worker = make_worker(
            *(client, task_queue, activities.all, slots, config.build_id, code.graphs),
            config.runs.tenants,
        )
        limits.start()
        _export(slots, pool)
        async with pool.running(), _registration(config, data, code).running():
            await _run_until(stop, worker, client, probes)
        await next_runs.stop()
        await limits.stop()


async def _unless_stopped(
    stop: asyncio.Event, connecting: Coroutine[None, None, Client]
) -> Client | None:
    """Wait for a client; return None if the process is asked to end before."""
    client, end = asyncio.create_task(connecting), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((client, end), return_when=asyncio.FIRST_COMPLETED)
        return client.result() if client.done() else None
    finally:
        client.cancel()
        end.cancel()


async def _client(
    config: WorkerConfig, tenant: grpc.aio.Channel, data: DataPlane, probes: Probes
) -> Client:
    """Connect to Temporal, waiting until it is there and the tenants are known.

    The migrations are published before: a worker of a new build may come before the API's.
    """
    with probes.readiness.waiting("tenant, which is to take the migrations"):
        await publish(tenant, "runs", read_migrations(MIGRATIONS))
    with probes.readiness.waiting("the registry of tenants"):
        await data.directory.ready()
    address = config.temporal.address
    log = RetryLog(_log, "temporal.unavailable", "waiting for Temporal", address=address)
    with probes.readiness.waiting(f"Temporal at {address}"):
        # With a RuntimeError the SDK says that it cannot connect.
        return await retry(lambda: connect(config.temporal, lazy=False), RuntimeError, log)


def _registration(config: WorkerConfig, data: DataPlane, code: InstalledCode) -> Registration:
    installed = code.installed_for(config.runs.tenants)
    return Registration(
        *(data.management, config.runs.pipeline_queue, installed),
        *(config.steps_at_once, config.tenant_share),
    )


def _export(slots: WorkerSlots, pool: FunctionPool) -> None:
    """Have what the worker holds read as metrics."""
    SLOTS.set(slots.count)
    SLOTS_USED.set_function(lambda: slots.held)
    FUNCTION_PROCESSES.read_by(lambda: [((state,), n) for state, n in pool.counts().items()])


async def _run_until(stop: asyncio.Event, worker: Worker, client: Client, probes: Probes) -> None:
    """Work until asked to stop; then take nothing new and finish what can be finished."""
    queues, identity = TaskQueues(client), client.identity
    polling = PollingCheck(queues, worker.task_queue, identity, probes.readiness)
    lag = asyncio.create_task(probes.loop.run())
    async with worker, renewing(client, worker):
        _log.info("working", extra={"event": "worker.started", "task_queue": worker.task_queue})
        async with polling.running():
            await stop.wait()
        probes.readiness.wait_for("end", "nothing any more: it stops")
        _log.info("finishing", extra={"event": "worker.draining_started"})
    lag.cancel()
    _log.info("stopped", extra={"event": "worker.stopped"})


def main() -> None:
    """Run the worker until SIGTERM or SIGINT."""
    run("runs-worker", lambda: work(WorkerConfig.read()))
