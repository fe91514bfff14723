"""Removes the versions of workers that have nothing left to do."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from runs.temporal.deployments import WorkerDeployments

_SECONDS = 600.0
_log = logging.getLogger(__name__)


class DeploymentCleaner:
    """Looks every ten minutes or so, in each process; that several do harms nothing."""

    def __init__(self, deployments: WorkerDeployments) -> None:
        self._deployments = deployments
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to look."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - a jitter
            try:
                removed = await self._deployments.remove_drained()
            except TemporalUnavailable as error:
                _log.info(
                    "drained versions of workers are removed later",
                    extra={"event": "deployment.cleaning_postponed", "why": error.message},
                )
                continue
            except Exception:
                _log.exception(
                    "drained versions of workers could not be removed",
                    extra={"event": "deployment.cleaning_failed"},
                )
                continue
            for one in removed:
                _log.info(
                    "a drained version of workers was removed",
                    extra={"event": "deployment.version_removed", "build_id": one.build_id},
                )
