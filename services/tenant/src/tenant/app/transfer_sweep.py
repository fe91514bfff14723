"""Removes bundles whose time is over."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from servicekit.periodic import PeriodicTask

if TYPE_CHECKING:
    from tenant.transfer.folder import TransferFolder

_INTERVAL_SECONDS = 600.0
_log = logging.getLogger(__name__)


class TransferSweep:
    """Looks into the folder of bundles every ten minutes, where there is one."""

    def __init__(self, folder: TransferFolder) -> None:
        self._folder = folder
        seconds = _INTERVAL_SECONDS if folder.configured else 0.0
        self.task = PeriodicTask(
            self.sweep,
            seconds,
            _log,
            "transfer_folder.unavailable",
            "the folder of bundles cannot be cleaned",
            transient=OSError,
        )

    async def sweep(self) -> None:
        """Remove what is too old. Raises OSError."""
        if removed := await asyncio.to_thread(self._folder.remove_old):
            _log.info(
                "bundles were removed whose time is over",
                extra={"event": "transfer_folder.swept", "count": removed},
            )
