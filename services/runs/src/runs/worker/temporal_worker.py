"""The Temporal worker: its workflows, its interceptors and how much it does at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from runs.temporal.deployments import deployment_name
from runs.worker.activities.admission import AdmissionInterceptor
from runs.worker.activities.error_interceptor import ActivityErrorInterceptor
from runs.worker.graph_scheduler import GraphInterceptor
from runs.worker.graphs import GraphRegistry
from runs.worker.scheduling import MAX_ITEMS_AT_ONCE
from runs.worker.superseded.workflows import MapPartRun
from runs.worker.tenant_filter import TenantFilter
from runs.worker.workflows import PipelineRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from temporalio.client import Client

    from runs.worker.activities.admission import WorkerSlots

_SHUTDOWN_GRACE = timedelta(seconds=20)
_HEARTBEAT_INTERVAL = timedelta(seconds=1)
_WORKFLOW_THREADS = 2  # they only compute, and more would fight for the interpreter's lock
_WORKFLOW_TASKS = 100  # more of them last so long, when all have work, that Temporal gives them up


def make_worker(
    client: Client,
    task_queue: str,
    activities: Sequence[Callable[..., object]],
    slots: WorkerSlots,
    build_id: str = "",
    graphs: GraphRegistry | None = None,
    tenants: frozenset[str] = frozenset(),
) -> Worker:
    """Make a worker on which one tenant's steps do not keep out another's.

    It does the runs of `tenants` only, or those of all when empty.
    With a build id, runs that begin on it are done by workers of this build alone.
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[PipelineRun, MapPartRun],
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_task_executor=ThreadPoolExecutor(_WORKFLOW_THREADS),
        interceptors=[
            TenantFilter(tenants),
            AdmissionInterceptor(slots),
            ActivityErrorInterceptor(),
            GraphInterceptor(graphs or GraphRegistry({})),
        ],
        max_concurrent_activities=slots.count,
        max_concurrent_workflow_tasks=_WORKFLOW_TASKS,
        # Whatever these may ask for at once: no one's map keeps out another's begin and end.
        max_concurrent_local_activities=_WORKFLOW_TASKS * MAX_ITEMS_AT_ONCE,
        max_workflow_task_external_storage_concurrency=1,  # there is none: spares tasks for it
        max_heartbeat_throttle_interval=_HEARTBEAT_INTERVAL,
        default_heartbeat_throttle_interval=_HEARTBEAT_INTERVAL,
        graceful_shutdown_timeout=_SHUTDOWN_GRACE,
        deployment_config=_deployment(task_queue, build_id) if build_id else None,
    )


def _deployment(task_queue: str, build_id: str) -> WorkerDeploymentConfig:
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name(task_queue), build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
