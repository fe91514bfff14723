"""The service runs in the process of a test, without a server, and what begins a run."""

from __future__ import annotations

import secrets
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from uuid import UUID

from google.protobuf.json_format import ParseDict

from dataplane.directory import TenantDirectory
from dataplane.pending_work_poller import PendingWorkPoller
from dataplane.pending_work_scheduler import PendingWorkScheduler
from dataplane.tenants import DataPlane
from nagaya.runs.v1 import pipeline_pb2, run_service_pb2
from runs.api.app.approvals import Approvals
from runs.api.app.bulk_runs import BulkRuns
from runs.api.app.forks import Forks
from runs.api.app.install_check import InstallCheck
from runs.api.app.model_check import ModelCheck
from runs.api.app.pipeline_apply import PipelineApply
from runs.api.app.pipelines import Pipelines
from runs.api.app.prompts import Prompts
from runs.api.app.run_finalizer import RunFinalizer
from runs.api.app.run_steering import RunSteering
from runs.api.app.runs import Runs
from runs.api.app.schedule_delivery import ScheduleDelivery
from runs.api.app.scheduled_runs import ScheduledRuns
from runs.api.app.schedules import Schedules
from runs.api.app.webhooks import Webhooks
from runs.api.launcher import Launcher
from runs.api.relay.outbox import OutboxRelay
from runs.api.relay.reconciler import Reconciler
from runs.api.relay.relay import Relay
from runs.api.relay.usage import UsageChecker
from runs.domain.activities import RunRef
from runs.domain.receivers import AllowedReceivers
from runs.domain.runs import OutputFile
from runs.domain.tenant_limits import TenantLimits
from runs.domain.transitions import Transitions
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.peers.tenant_secrets import TenantSecrets
from runs.store import runs as run_store
from runs.store.events import run_event
from runs.store.pending_work import PENDING_WORK, WEBHOOK_WORK
from runs.temporal.client import connect
from runs.temporal.schedules import Schedules as TemporalSchedules
from runs.temporal_config import TemporalConfig
from runs.wire import pipelines as wire
from runs.wire.runs import run_draft
from runs.worker.activities.journal import Journal
from runs.worker.activities.reuse import StepReuser
from runs.worker.activities.run_context import RunContextCache
from runs.worker.activities.run_initializer import RunInitializer
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg
    import grpc

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool, TenantPools
    from runs.domain.pipelines import PipelineVersion
    from runs.domain.runs import Run

NOWHERE = "127.0.0.1:1"
LOOPBACK = ip_network("127.0.0.0/8")
COPY = {"step": "copy", "function": {"function": "copy"}}
INPUT_FILE = OutputFile("storage/acme/x/input/output.json", "0" * 64, "9 characters", {"bytes": 9})


class RunsService:
    """The parts of one replica, on the databases of one test."""

    def __init__(
        self,
        tenants: TenantPools,
        management: ManagementPool,
        launcher: Launcher,
        peers: grpc.aio.Channel | None = None,
        secrets: TenantSecrets | None = None,
    ) -> None:
        self.tenants = tenants
        self.management = management
        self.launcher = launcher
        self.prompts = Prompts(tenants)
        self.pipelines = Pipelines(tenants)
        nowhere = open_channel(NOWHERE, None)
        self.data = DataPlane(tenants, management, TenantDirectory(nowhere))
        self.files = Artifacts(peers or nowhere)
        self.gateway = gateway = LlmGateway(peers or nowhere)
        self.finalizer = RunFinalizer(tenants, launcher)
        scheduler = PendingWorkScheduler(PENDING_WORK, tenants, management)
        self.webhook_scheduler = PendingWorkScheduler(WEBHOOK_WORK, tenants, management)
        checks = InstallCheck(management), ModelCheck(gateway)
        self.limits = TenantLimits()
        """Those of every tenant."""
        limits = self.limits_of
        self.runs = Runs(tenants, scheduler, self.files, *checks, launcher, limits)
        self.forks = Forks(tenants, self.runs, checks)
        self.applying = PipelineApply(tenants)
        self.steering = RunSteering(tenants, scheduler, launcher, self.finalizer, limits)
        self.bulk = BulkRuns(tenants, self.steering)
        self.temporal_schedules = TemporalSchedules(launcher._client, _schedule_queue(launcher))
        self.delivery = ScheduleDelivery(tenants, self.temporal_schedules)
        self.scheduled_runs = ScheduledRuns(
            tenants, self.runs, self.steering, self.temporal_schedules
        )
        self.schedules = Schedules(tenants, scheduler, self.delivery, self.scheduled_runs)
        self.secrets = secrets or TenantSecrets(nowhere)
        self.receivers = AllowedReceivers((LOOPBACK,))
        self.webhooks = Webhooks(tenants, self.webhook_scheduler, self.secrets, self.receivers)
        self.approvals = Approvals(tenants, scheduler, launcher)
        self.contexts = RunContextCache(tenants)
        self.journal = Journal(tenants)
        self.initializer = RunInitializer(
            self.journal, self.contexts, self.files, StepReuser(tenants, self.files)
        )

    def with_launcher(self, launcher: Launcher) -> RunsService:
        """Make a replica with another way to Temporal."""
        return RunsService(self.tenants, self.management, launcher)

    def relay(
        self, launcher: Launcher, stale_after: timedelta, data: DataPlane | None = None
    ) -> PendingWorkPoller:
        """Make the relay of another replica."""
        finalizer = RunFinalizer(self.tenants, launcher)
        relay = Relay(
            self.data,
            OutboxRelay(self.tenants, launcher, finalizer, self.limits_of),
            Reconciler(self.tenants, launcher, finalizer, stale_after),
            UsageChecker(self.tenants, self.gateway),
            self.delivery,
            self.webhook_scheduler,
        )
        return PendingWorkPoller(PENDING_WORK, data or self.data, relay.handle)

    def limits_of(self, _: str) -> TenantLimits:
        return self.limits

    async def find(self, run_id: str, tenant_id: str = "acme") -> Run:
        async with self.tenants.connection(tenant_id) as connection:
            run = await run_store.find(connection, run_id)
        assert run is not None
        return run

    async def begin(self, run_id: str) -> None:
        """Have a run running, without its input."""
        await self.journal.advance(RunRef("acme", run_id, 1), Transitions(input=INPUT_FILE))

    async def append_event(self, connection: Connection, run_id: str) -> None:
        """Record a run as its row is, as each of its transitions does."""
        await connection.execute(
            f"""
            WITH updated AS (
                UPDATE runs SET last_seq = last_seq + 1 WHERE id = $1 RETURNING *
            )
            {run_event("updated")}
            """,
            UUID(run_id),
        )

    async def pipeline(
        self, *steps: dict[str, Any], name: str = "article", tenant_id: str = "acme"
    ) -> PipelineVersion:
        """Create a pipeline's next version, by default of one step that copies."""
        message = ParseDict({"steps": list(steps or (COPY,))}, pipeline_pb2.PipelineSpec())
        spec = wire.pipeline_spec(message)
        request_id = secrets.token_hex(8)
        return await self.pipelines.create(tenant_id, request_id, name, spec)

    async def run(self, request_id: str = "", tenant_id: str = "acme", **fields: object) -> Run:
        """Create a run, by default of the pipeline `article` with an inline input."""
        whole = {"request_id": request_id or secrets.token_hex(8), "pipeline": "article", **fields}
        if not {"inline", "pointer", "hold"} & whole.keys():
            whole["inline"] = {"topic": "cranes"}
        draft = run_draft(ParseDict(whole, run_service_pb2.CreateRunRequest()))
        return await self.runs.create(tenant_id, draft)


async def make_due(database: asyncpg.Connection, registry: asyncpg.Connection) -> None:
    """Have everything that a relay does be due now."""
    await database.execute("UPDATE outbox SET due_at = now()")
    await registry.execute("UPDATE runs_pending_work SET due_at = now()")


async def launcher_at(address: str, namespace: str = "default") -> Launcher:
    """Make a launcher whose workflows nobody works on."""
    config = TemporalConfig(address, namespace, f"runs-{secrets.token_hex(4)}")
    return Launcher(await connect(config), config.task_queue)


def _schedule_queue(launcher: Launcher) -> str:
    return TemporalConfig("", "", launcher._task_queue).schedule_queue
