"""The table `runs_pending_work` of the management database: tenants with work for a relay."""

from __future__ import annotations

from dataplane.pending_work import PendingWorkTable

PENDING_WORK = PendingWorkTable(
    name="runs_pending_work",
    kind="runs",
    delay_seconds=5.0,
    rewrite_seconds=10.0,
    settle_seconds=180.0,
)
