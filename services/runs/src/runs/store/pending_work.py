"""The table `runs_pending_work` of the management database: tenants with work for a relay.

Webhooks have rows of their own: a receiver that is slow delays no run.
"""

from __future__ import annotations

from dataplane.pending_work import PendingWorkTable

PENDING_WORK = PendingWorkTable(
    name="runs_pending_work",
    kind="runs",
    delay_seconds=5.0,
    rewrite_seconds=10.0,
    settle_seconds=180.0,
)

WEBHOOK_WORK = PendingWorkTable(
    name="runs_pending_work",
    kind="webhooks",
    delay_seconds=0.2,
    rewrite_seconds=10.0,
    settle_seconds=180.0,
)
