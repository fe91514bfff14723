"""Removes what killed processes have staged for backups on this machine."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tenant.errors.backups import BackupStorageUnavailable

if TYPE_CHECKING:
    from tenant.backup_storage.storage import BackupStorage

_INTERVAL_SECONDS = 600.0
_log = logging.getLogger(__name__)


class StagingSweep:
    """Looks at the start of the process, and every ten minutes: a dump is not to lie about."""

    def __init__(self, storage: BackupStorage) -> None:
        self._storage = storage
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            try:
                removed = await self._storage.remove_left()
            except (BackupStorageUnavailable, OSError) as error:
                _log.warning(
                    "what is staged for backups cannot be looked at",
                    extra={"event": "backup_staging.sweep_failed", "why": str(error)},
                )
            else:
                if removed:
                    _log.info(
                        "files were removed that a killed process had staged for a backup",
                        extra={"event": "backup_staging.swept", "count": removed},
                    )
            await asyncio.sleep(_INTERVAL_SECONDS)
