"""TenantDataService of runs: schedules, workflows with their histories, and pending work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.store import run_demand, tenant_limits
from runs.store.pending_work import PENDING_WORK
from runs.temporal.schedules_of_tenants import TenantSchedules
from runs.temporal.workflows_of_tenants import TenantWorkflows
from tenantdata.servicer import TenantDataServicer
from tenantdata.stores import ManagementRows

if TYPE_CHECKING:
    from temporalio.client import Client

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.tenants import DataPlane


def tenant_data_servicer(
    client: Client,
    data: DataPlane,
    scheduler: PendingWorkScheduler,
    webhook_scheduler: PendingWorkScheduler,
) -> TenantDataServicer:
    """Make the servicer over the stores of runs."""
    data.directory.on_change(scheduler.forget)
    data.directory.on_change(webhook_scheduler.forget)
    stores = (
        TenantSchedules(client),  # before the workflows, of which they start new ones
        TenantWorkflows(client),
        ManagementRows(PENDING_WORK.name, data.management),
        ManagementRows(tenant_limits.TABLE, data.management),
        ManagementRows(run_demand.TABLE, data.management),
    )
    return TenantDataServicer(stores, (scheduler, webhook_scheduler))
