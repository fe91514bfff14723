"""Looks now and then whether all is as it should be, and repairs what certainly is not."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from servicekit.call import acting_as
from servicekit.errors import DomainError
from servicekit.identity import workload_principal
from servicekit.periodic import PeriodicTask
from tenant.domain.repair import FindingAction, FindingKind
from tenant.metrics import FINDINGS

if TYPE_CHECKING:
    from tenant.app.repair import TenantRepair
    from tenant.app.schema import Schema
    from tenant.app.tenants import Tenants
    from tenant.domain.repair import Finding
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks

_LOCK = "repair"
_log = logging.getLogger(__name__)


class RepairSchedule:
    """Does what RepairTenants does, every `interval_seconds`; 0 is never.

    Besides, databases that are to be closed are closed, and tenants are migrated whose server was
    away. One process does it at a time.
    """

    def __init__(
        self,
        locks: AdvisoryLocks,
        servers: DatabaseServers,
        repair: TenantRepair,
        tenants: Tenants,
        schema: Schema,
        interval_seconds: float,
    ) -> None:
        self._locks = locks
        self._servers = servers
        self._repair = repair
        self._tenants = tenants
        self._schema = schema
        self._logged: set[tuple[FindingKind, str]] = set()
        self._unchecked: list[str] = []
        self.task = PeriodicTask(
            self.look,
            interval_seconds,
            _log,
            "tenant_repair.unavailable",
            "nobody can look whether all is as it should be",
            wait_first=True,
        )

    async def look(self) -> None:
        """Look once, unless another process does. Raises DatabaseUnavailable."""
        async with self._locks.trying(_LOCK) as connection:
            if connection is None:
                return
            with acting_as(workload_principal("tenant")):
                found, unchecked = await self._repair.run((), dry_run=False, by_schedule=True)
                self._tell(found)
                self._tell_unchecked([*unchecked, *await self._close()])
                await self._schema.catch_up()

    async def _close(self) -> list[str]:
        """Close what is to be closed; return why that could not be."""
        unchecked: list[str] = []
        for server_id in await self._servers.all_ids():
            try:
                await self._tenants.enforce_suspensions(await self._servers.of(server_id))
            except DomainError as error:
                unchecked.append(error.message)
            except Exception:
                _log.exception(
                    "not everything could be closed that is to be",
                    extra={"event": "tenant_repair.failed", "server_id": server_id},
                )
        return unchecked

    def _tell_unchecked(self, unchecked: list[str]) -> None:
        """Log what could not be looked at, if that is new."""
        if unchecked and unchecked != self._unchecked:
            _log.warning(
                "not everything could be looked at",
                extra={"event": "tenant_repair.incomplete", "why": unchecked},
            )
        self._unchecked = unchecked

    def _tell(self, found: list[Finding]) -> None:
        """Count what was found and kept, and log what is new of it."""
        kept = [one for one in found if one.action is FindingAction.KEPT]
        counts = Counter(one.kind for one in kept)
        for kind in FindingKind:
            FINDINGS.labels(kind.value).set(counts[kind])
        for one in kept:
            if (one.kind, one.name) not in self._logged:
                _log.warning(
                    "something is not as it should be",
                    extra={
                        "event": "tenant_repair.found",
                        "kind": one.kind,
                        "what": one.name,
                        "why": one.description,
                        "hint": one.hint,
                    },
                )
        self._logged = {(one.kind, one.name) for one in kept}
