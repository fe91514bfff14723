"""Reads numbers about the whole installation now and then, as metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from servicekit.periodic import PeriodicTask
from tenant import metrics
from tenant.store import overview

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataplane.tenants import ManagementPool
    from monitoring.readings import ReadGauge, Readings
    from tenant.store.overview import Overview

_SECONDS = 15.0
_log = logging.getLogger(__name__)


class InstallationMetrics:
    """Reads every fifteen seconds; while the management database is away, nothing is told."""

    def __init__(self, management: ManagementPool, interval_seconds: float = _SECONDS) -> None:
        self._management = management
        self._found: Overview | None = None
        self.task = PeriodicTask(
            self.read,
            interval_seconds,
            _log,
            "overview.unavailable",
            "the numbers of the installation are not known",
        )
        for gauge, read in _GAUGES.items():
            gauge.read_by(lambda read=read: [] if self._found is None else read(self._found))

    async def read(self) -> None:
        """Read once. Raises DatabaseUnavailable."""
        try:
            async with self._management.connection() as connection:
                found = self._found = await overview.read(connection)
        except DomainError:
            self._found = None
            raise
        metrics.BACKUP_SCHEDULES.set(found.schedules)
        metrics.BACKUPS_OVERDUE.set(found.overdue)
        metrics.BACKUP_AGE.set(found.backup_age)
        metrics.BACKUPS_DAMAGED.set(found.damaged)
        metrics.ROLLOUT_PAUSED.set(found.rollout_paused)
        metrics.OVERVIEW_READ.set_to_current_time()


def _by_one(counts: dict[str, int]) -> Readings:
    return [((name,), count) for name, count in counts.items()]


_GAUGES: dict[ReadGauge, Callable[[Overview], Readings]] = {
    metrics.TENANTS: lambda found: _by_one(found.tenants),
    metrics.OPERATIONS_RUNNING: lambda found: [((one.kind,), one.count) for one in found.running],
    metrics.OPERATIONS_STUCK: lambda found: [((one.kind,), one.stuck) for one in found.running],
    metrics.OPERATION_AGE: lambda found: [((one.kind,), one.idle_seconds) for one in found.running],
    metrics.OPERATIONS_ENDED: lambda found: found.ended.items(),
    metrics.ROLLOUT_TENANTS: lambda found: _by_one(found.rollout_tenants),
    metrics.SERVER_TENANTS: lambda found: _by_one(found.servers),
}
