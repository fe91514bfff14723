"""Removes the versions of workers that have nothing left to do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from servicekit.periodic import PeriodicTask

if TYPE_CHECKING:
    from runs.temporal.deployments import WorkerDeployments

_SECONDS = 600.0
_log = logging.getLogger(__name__)


class DeploymentCleaner:
    """Looks every ten minutes or so, in each process; that several do harms nothing."""

    def __init__(self, deployments: WorkerDeployments) -> None:
        self._deployments = deployments
        self.task = PeriodicTask(
            self.clean,
            _SECONDS,
            _log,
            "deployment_cleaning.postponed",
            "drained versions of workers are removed later",
            wait_first=True,
        )

    async def clean(self) -> None:
        """Remove what is drained now. Raises TemporalUnavailable."""
        for one in await self._deployments.remove_drained():
            _log.info(
                "a drained version of workers was removed",
                extra={"event": "deployment.version_removed", "build_id": one.build_id},
            )
