"""The decision about what belongs to no tenant, and its removal."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.errors import DomainError
from tenant.domain.repair import Finding, FindingAction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from dataplane.tenants import ManagementPool

_log = logging.getLogger(__name__)


class RepairDecision:
    """Decides about findings, and removes.

    `removed` are the names that are removed though that is not certain. `failed` are the names
    whose removal failed before: of those the audit log has an entry.
    """

    def __init__(
        self,
        management: ManagementPool,
        removed: Collection[str],
        failed: set[str],
        *,
        dry_run: bool,
    ) -> None:
        self._management = management
        self._removed = removed
        self._failed = failed
        self._dry_run = dry_run

    async def __call__(
        self, finding: Finding, *, certain: bool, remove: Callable[[], Awaitable[None]]
    ) -> Finding:
        """Return a finding with what was done about it."""
        if not certain and finding.name not in self._removed:
            return finding
        if self._dry_run:
            return replace(finding, action=FindingAction.WOULD_REMOVE, hint="")
        if finding.name not in self._failed:
            await self._record(finding)  # before it is gone
        self._failed.add(finding.name)
        try:
            await remove()
        except DomainError as error:
            return replace(finding, hint=f"It could not be removed: {error.message}.")
        except Exception:
            _log.exception(
                "what belongs to no tenant could not be removed",
                extra={"event": "tenant_repair.failed", "what": finding.name},
            )
            return replace(finding, hint="It could not be removed: the service's log says why.")
        self._failed.discard(finding.name)
        _log.warning(
            "what belongs to no tenant was removed",
            extra={"event": "tenant_repair.removed", "kind": finding.kind, "what": finding.name},
        )
        return replace(finding, action=FindingAction.REMOVED, hint="")

    async def _record(self, finding: Finding) -> None:
        async with self._management.transaction() as connection:
            details = {"kind": finding.kind, "what": finding.description}
            await audit.append(connection, "tenant.repair", finding.kind, finding.name, details)
