"""Deletes operations that have ended long ago."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from servicekit.periodic import PeriodicTask
from tenant.store import operations

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.tenants import ManagementPool

_INTERVAL_SECONDS = 600.0
_AT_ONCE = 1000
_log = logging.getLogger(__name__)


class OperationSweep:
    """Looks every ten minutes for operations that are done or cancelled for `retention`.

    None is deleted if that is zero. Failed ones stay: they can be resumed, or cancelled.
    """

    def __init__(self, management: ManagementPool, retention: timedelta) -> None:
        self._management = management
        self._retention = retention
        self.task = PeriodicTask(
            self.sweep,
            _INTERVAL_SECONDS if retention else 0.0,
            _log,
            "operation_sweep.unavailable",
            "operations that have ended cannot be deleted",
        )

    async def sweep(self) -> int:
        """Delete what is old enough; return how many. Raises DatabaseUnavailable."""
        total = 0
        while True:
            async with self._management.connection() as connection:
                count = await operations.delete_ended(connection, self._retention, _AT_ONCE)
            total += count
            if count < _AT_ONCE:
                break
        if total:
            _log.info(
                "operations were deleted that ended long ago",
                extra={"event": "operation_sweep.swept", "count": total},
            )
        return total
