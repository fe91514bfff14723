"""The objects of the API process, each with exactly what it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.pending_work_poller import PendingWorkPoller
from dataplane.pending_work_scheduler import PendingWorkScheduler
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
from runs.api.app.tenant_limits import TenantLimitChanges
from runs.api.app.webhooks import Webhooks
from runs.api.launcher import Launcher
from runs.api.relay.deployments import DeploymentCleaner
from runs.api.relay.outbox import OutboxRelay
from runs.api.relay.reconciler import Reconciler
from runs.api.relay.relay import Relay
from runs.api.relay.task_queues import TaskQueueWatch
from runs.api.relay.usage import UsageChecker
from runs.api.relay.webhooks import WebhookRelay
from runs.api.schedule_worker import ScheduleWorker
from runs.api.servicer.approvals import ApprovalServicer
from runs.api.servicer.bindings import bindings
from runs.api.servicer.pipelines import PipelineServicer
from runs.api.servicer.prompts import PromptServicer
from runs.api.servicer.runs import RunServicer
from runs.api.servicer.schedules import ScheduleServicer
from runs.api.servicer.tenant_data import tenant_data_servicer
from runs.api.servicer.tenant_limits import TenantLimitServicer
from runs.api.servicer.webhooks import WebhookServicer
from runs.api.step_text import StepTextWatcher
from runs.api.watch import RunWatcher
from runs.domain.receivers import AllowedReceivers
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.peers.tenant_secrets import TenantSecrets
from runs.peers.webhook_receivers import WebhookReceivers
from runs.store.pending_work import PENDING_WORK, WEBHOOK_WORK
from runs.temporal.client import connect
from runs.temporal.deployments import WorkerDeployments, deployment_name
from runs.temporal.schedules import Schedules as TemporalSchedules
from runs.temporal.task_queues import TaskQueues
from runs.tenant_limit_cache import TenantLimitCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    from temporalio.client import Client

    from dataplane.tenants import DataPlane, TenantPools
    from interceptor.server import Binding
    from runs.config import Config
    from runs.domain.tenant_limits import LimitsOf
    from servicekit.periodic import PeriodicTask


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels to the other services."""

    tenant: grpc.aio.Channel
    artifacts: grpc.aio.Channel
    llm_gateway: grpc.aio.Channel


@dataclass(frozen=True, slots=True)
class Composition:
    """What a process serves, and what it does beside that."""

    services: Sequence[Binding]
    watcher: RunWatcher
    pollers: Sequence[PendingWorkPoller]
    others: Sequence[ScheduleWorker | TenantLimitCache | PeriodicTask]
    receivers: WebhookReceivers

    def start(self) -> None:
        """Start what is done beside calls."""
        for poller in self.pollers:
            poller.start()
        for one in self.others:
            one.start()

    async def stop(self) -> None:
        """End watches, and what is done beside calls."""
        self.watcher.close()
        for poller in self.pollers:
            await poller.stop()
        for one in self.others:
            await one.stop()
        await self.receivers.close()


@dataclass(frozen=True, slots=True)
class _Schedulers:
    """What has tenants visited: for their runs, and for their webhooks."""

    runs: PendingWorkScheduler
    webhooks: PendingWorkScheduler


def compose(config: Config, client: Client, channels: Channels, data: DataPlane) -> Composition:
    """Construct the service."""
    tenants, gateway = data.tenants, LlmGateway(channels.llm_gateway)
    limits = TenantLimitCache(data.management)
    launcher = Launcher(client, config.temporal.task_queue, limits.of)
    finalizer = RunFinalizer(tenants, launcher)
    schedulers = _Schedulers(
        *(PendingWorkScheduler(one, tenants, data.management) for one in _WORK)
    )
    artifacts = Artifacts(channels.artifacts, data.directory.path_prefix)
    checks = InstallCheck(data.management), ModelCheck(gateway)
    sharing = limits.of, limits.note_demand
    runs = Runs(tenants, schedulers.runs, artifacts, *checks, launcher, *sharing)
    steering = RunSteering(tenants, schedulers.runs, launcher, finalizer, limits.of)
    temporal = TemporalSchedules(client, config.temporal.schedule_queue)
    delivery = ScheduleDelivery(tenants, temporal)
    scheduled_runs = ScheduledRuns(tenants, runs, steering, temporal)
    schedules = Schedules(tenants, schedulers.runs, delivery, scheduled_runs)
    outgoing = _outgoing(config, channels, tenants, schedulers.webhooks)
    watcher = RunWatcher(tenants)
    relay = _relay(data, launcher, finalizer, gateway, delivery, schedulers, limits.of)
    texts = StepTextWatcher(tenants, watcher, gateway)
    limit_changes = TenantLimitChanges(data.management, limits)
    forks, bulk = Forks(tenants, runs, checks), BulkRuns(tenants, steering)
    services = bindings(
        PromptServicer(Prompts(tenants), tenants),
        PipelineServicer(Pipelines(tenants), PipelineApply(tenants), tenants),
        RunServicer(runs, forks, steering, bulk, tenants, watcher, texts),
        ApprovalServicer(Approvals(tenants, schedulers.runs, launcher), tenants),
        ScheduleServicer(schedules, tenants),
        WebhookServicer(outgoing.webhooks, tenants),
        TenantLimitServicer(limit_changes, data.management, limits.of),
        tenant_data_servicer(client, data, schedulers.runs, schedulers.webhooks),
    )
    pollers = (
        PendingWorkPoller(PENDING_WORK, data, relay.handle),
        PendingWorkPoller(WEBHOOK_WORK, data, outgoing.relay.handle, at_once=_SENDING_TENANTS),
    )
    others = (_schedule_worker(config, scheduled_runs), limits, *_watches(config, client, data))
    return Composition(services, watcher, pollers, others, outgoing.receivers)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """What sends events to receivers, and what says which."""

    webhooks: Webhooks
    relay: WebhookRelay
    receivers: WebhookReceivers


def _outgoing(
    config: Config, channels: Channels, tenants: TenantPools, scheduler: PendingWorkScheduler
) -> _Outgoing:
    allowed = AllowedReceivers(config.webhook_networks)
    secrets, receivers = TenantSecrets(channels.tenant), WebhookReceivers(allowed)
    return _Outgoing(
        Webhooks(tenants, scheduler, secrets, allowed),
        WebhookRelay(tenants, secrets, receivers, config.webhook_days),
        receivers,
    )


def _relay(
    data: DataPlane,
    launcher: Launcher,
    finalizer: RunFinalizer,
    gateway: LlmGateway,
    delivery: ScheduleDelivery,
    schedulers: _Schedulers,
    limits: LimitsOf,
) -> Relay:
    tenants = data.tenants
    return Relay(
        data,
        OutboxRelay(tenants, launcher, finalizer, limits),
        Reconciler(tenants, launcher, finalizer),
        UsageChecker(tenants, gateway),
        delivery,
        schedulers.webhooks,
    )


def _watches(config: Config, client: Client, data: DataPlane) -> Sequence[PeriodicTask]:
    """Make what looks at the workers."""
    queue = config.temporal.task_queue
    deployments = WorkerDeployments(client, deployment_name(queue))
    return (
        DeploymentCleaner(deployments).task,
        TaskQueueWatch(data.management, TaskQueues(client), queue).task,
    )


def _schedule_worker(config: Config, runs: ScheduledRuns) -> ScheduleWorker:
    async def connected() -> Client:
        return await connect(config.temporal, lazy=False)

    return ScheduleWorker(connected, config.temporal.schedule_queue, runs)


_WORK = (PENDING_WORK, WEBHOOK_WORK)
_SENDING_TENANTS = 16
"""For how many tenants webhooks are sent at once: receivers may be slow."""
