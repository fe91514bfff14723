"""Checks that what a run calls is installed beside its workers, before anything is recorded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runs.errors.installed import NotInstalled
from runs.store import workers
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataplane.tenants import ManagementPool
    from runs.domain.installed import CodeNeeds, Installed

_KNOWN_SECONDS = 30.0


class InstallCheck:
    """Asks what workers have recorded of themselves. It is read again after half a minute, and at
    once where something is missing: it may have been installed just now.
    """

    def __init__(
        self, management: ManagementPool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._management = management
        self._clock = clock
        self._known: dict[str, tuple[float, Sequence[Installed]]] = {}

    async def check(self, tenant_id: str, needs: CodeNeeds) -> None:
        """Raise NotInstalled, with all that is missing."""
        if not (needs.functions or needs.graph or needs.task_queue):
            return
        until, found = self._known.get(needs.task_queue, (0.0, ()))
        if until > self._clock() and not any(needs.faults(tenant_id, found)):
            return
        found = await self._read(needs.task_queue)
        faults = [Violation(*fault) for fault in needs.faults(tenant_id, found)]
        if faults:
            raise NotInstalled(faults)

    async def _read(self, task_queue: str) -> Sequence[Installed]:
        async with self._management.connection() as connection:
            found = await workers.of_queue(connection, task_queue)
        self._known[task_queue] = self._clock() + _KNOWN_SECONDS, found
        return found
