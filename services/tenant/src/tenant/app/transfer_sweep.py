"""Removes bundles whose time is over."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tenant.errors.transfers import TransfersNotConfigured

if TYPE_CHECKING:
    from tenant.transfer.folder import TransferFolder

_INTERVAL_SECONDS = 600.0
_log = logging.getLogger(__name__)


class TransferSweep:
    """Looks into the folder of bundles every ten minutes."""

    def __init__(self, folder: TransferFolder) -> None:
        self._folder = folder
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, where there is a folder."""
        try:
            self._folder.check()
        except TransfersNotConfigured:
            return
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            try:
                removed = await asyncio.to_thread(self._folder.remove_old)
            except OSError as error:
                _log.warning(
                    "the folder of bundles cannot be cleaned",
                    extra={"event": "transfer_folder.sweep_failed", "why": str(error)},
                )
            else:
                if removed:
                    _log.info(
                        "bundles were removed whose time is over",
                        extra={"event": "transfer_folder.swept", "count": removed},
                    )
            await asyncio.sleep(_INTERVAL_SECONDS)
