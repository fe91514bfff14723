"""Removes what killed processes have staged for backups on this machine."""

from __future__ import annotations

import asyncio
import logging

from servicekit.periodic import PeriodicTask
from tenant.backup_storage import staging

_INTERVAL_SECONDS = 600.0
_log = logging.getLogger(__name__)


class StagingSweep:
    """Looks at the start of the process, and every ten minutes: a dump is not to lie about."""

    def __init__(self) -> None:
        self.task = PeriodicTask(
            self.sweep,
            _INTERVAL_SECONDS,
            _log,
            "backup_staging.unavailable",
            "what is staged for backups cannot be looked at",
            transient=OSError,
        )

    async def sweep(self) -> None:
        """Remove what no process uses. Raises OSError."""
        if removed := await asyncio.to_thread(staging.remove_left_on_machine):
            _log.info(
                "files were removed that a killed process had staged for a backup",
                extra={"event": "backup_staging.swept", "count": removed},
            )
