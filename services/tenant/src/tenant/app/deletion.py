"""Deletion of tenants: closed at first and kept for a while, then purged for ever."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.operations import OperationKind, OperationState
from tenant.domain.tenants import Tenant, TenantState
from tenant.errors import (
    RequestIdReused,
    TenantBusy,
    TenantNotFound,
    TenantNotReady,
)
from tenant.errors.deletion import TenantNotDeleted
from tenant.operations.saga import tenant_lock
from tenant.store import operations, tenants
from tenant.store.locks import LockHeld

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import timedelta

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.audit_anchors import AuditAnchors
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.provisioning import Provisioning
    from tenant.store.locks import AdvisoryLocks

_LOCK_SECONDS = 10.0
_ANCHOR_SECONDS = 10.0
_PURGE = OperationKind.PURGE_TENANT
_FAILED = OperationState.FAILED
_log = logging.getLogger(__name__)


class TenantDeletion:
    """Deletes, undeletes and purges tenants, each under its advisory lock."""

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        provisioning: Provisioning,
        begun: Operations,
        anchors: AuditAnchors,
        retention: timedelta,
    ) -> None:
        self._management = management
        self._locks = locks
        self._provisioning = provisioning
        self._begun = begun
        self._anchors = anchors
        self._retention = retention

    async def delete(self, tenant_id: str, retention: timedelta | None = None) -> Tenant:
        """Close a tenant's database, and have the tenant purged after `retention`.

        One that is deleted already gets another time. A creation that failed is deleted too. Its
        audit log is anchored before: the certificate of its purge names the last entry. Raises
        TenantNotFound, TenantNotReady, TenantBusy, ServerUnavailable.
        """
        await self._anchor(tenant_id)
        async with self._holding(tenant_id) as connection:
            tenant = await _find(connection, tenant_id)
            if tenant.state is TenantState.PURGING:
                raise TenantNotReady(tenant_id, tenant.state)
            async with connection.transaction():
                deleted = await tenants.mark_deleted(
                    connection, tenant_id, self._retention if retention is None else retention
                )
                if deleted is None:
                    raise TenantNotFound(tenant_id)
                details = {"purge_time": str(deleted.purge_time)}
                await audit.append(connection, "tenant.delete", "tenant", tenant_id, details)
            # Also for one that was deleted: the process that did that may have died before this.
            if deleted.was_active:
                await self._provisioning.close(deleted.server_id, deleted.database)
            return deleted

    async def undelete(self, tenant_id: str) -> Tenant:
        """Suspend a deleted tenant instead; one that was never active is being created again.

        Raises TenantNotFound, TenantNotDeleted, TenantBusy.
        """
        async with self._holding(tenant_id) as connection, connection.transaction():
            tenant = await _find(connection, tenant_id)
            if tenant.state in (TenantState.ACTIVE, TenantState.PURGING):
                raise TenantNotDeleted(tenant_id, tenant.state)
            undeleted = await tenants.mark_undeleted(connection, tenant_id)
            if undeleted is None:  # it is not deleted
                return tenant
            await audit.append(connection, "tenant.undelete", "tenant", tenant_id)
            return undeleted

    async def purge(self, tenant_id: str, request_id: str) -> Operation:
        """Begin to remove all that is a deleted tenant's, for ever.

        Returns the purge that has begun already, whoever began it, also once the tenant is gone.
        Raises TenantNotFound, TenantNotDeleted, TenantBusy, RequestIdReused.
        """
        async with self._management.connection() as connection:
            known = await operations.find_by_request_id(connection, request_id)
            if known is not None and (known.kind, known.tenant_id) != (_PURGE, tenant_id):
                raise RequestIdReused(request_id)
            tenant = await tenants.find(connection, tenant_id)
            begun = known or await operations.newest(connection, tenant_id, _PURGE)
        if known is not None and known.state is OperationState.DONE:
            return known
        # Not under the lock, which a purge under way holds for long.
        if begun is not None and _is_of(tenant, begun) and begun.state is not _FAILED:
            return begun
        async with self._holding(tenant_id) as connection, connection.transaction():
            operation = await self._begin_purge(connection, tenant_id, request_id)
        self._begun.run(operation.operation_id)
        return operation

    async def _begin_purge(
        self, connection: Connection, tenant_id: str, request_id: str
    ) -> Operation:
        """Begin a purge, or have the one that has begun go on; the tenant's lock is held."""
        begun = await operations.newest(connection, tenant_id, _PURGE)
        tenant = await tenants.find(connection, tenant_id)
        if begun is not None and _is_of(tenant, begun):
            return await operations.reopen(connection, begun.operation_id) or begun
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state is not TenantState.DELETED:
            raise TenantNotDeleted(tenant_id, tenant.state)
        operation = await self._begun.begin(connection, _PURGE, tenant_id, request_id, {})
        await tenants.set_state(connection, tenant_id, TenantState.PURGING)
        details = {"operation_id": operation.operation_id}
        await audit.append(connection, "tenant.purge", "tenant", tenant_id, details)
        return operation

    async def _anchor(self, tenant_id: str) -> None:
        """Anchor a tenant's audit log, if it can be entered: nothing of it prevents a deletion."""
        try:
            async with asyncio.timeout(_ANCHOR_SECONDS):
                await self._anchors.anchor(tenant_id)
        except Exception as error:
            _log.info(
                "an audit log is not anchored before its tenant is deleted",
                extra={
                    "event": "audit_anchor.skipped",
                    "tenant_id": tenant_id,
                    "why": str(error) or type(error).__name__,
                },
            )

    @asynccontextmanager
    async def _holding(self, tenant_id: str) -> AsyncGenerator[Connection]:
        """Hold a tenant's lock for the block. Raises TenantBusy."""
        try:
            async with self._locks.holding(tenant_lock(tenant_id), _LOCK_SECONDS) as connection:
                yield connection
        except LockHeld:
            async with self._management.connection() as connection:
                running = await operations.find_running(connection, tenant_id)
            raise TenantBusy(tenant_id, running.operation_id if running else "") from None


def _is_of(tenant: Tenant | None, purge: Operation) -> bool:
    """Return whether a purge is that of this tenant, not of an earlier one of the same id."""
    if tenant is None:
        return True
    return tenant.state is TenantState.PURGING and purge.state is not OperationState.DONE


async def _find(connection: Connection, tenant_id: str) -> Tenant:
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    return tenant
