"""Visits the tenants' databases: chains, anchors and protects their audit logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from servicekit.errors import DomainError
from servicekit.periodic import PeriodicTask
from tenant.errors import ServerNotFound, ServerUnavailable, TenantNotFound, TenantNotReady
from tenant.errors.moves import ServerLost
from tenant.metrics import SERVER_CONNECTIONS, SERVER_MAX_CONNECTIONS
from tenant.store import audit_logs, database_activity, tenants

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.app.audit_anchors import AuditAnchors
    from tenant.domain.tenants import Tenant
    from tenant.rollout.audit_protection import AuditProtection
    from tenant.store.database_servers import DatabaseServers

_Place: TypeAlias = tuple[str, str]
_TENANT_SECONDS = 0.6  # a visit opens a connection, which costs some 10 ms of processor time
_log = logging.getLogger(__name__)


class AuditSweep:
    """Visits each active tenant once, and again when its database has been written to since.

    That is seen in PostgreSQL's statistics, so that a database which nobody uses is left alone. A
    round begins every `round_seconds`; of tenants that this process has not visited yet it takes so
    many that one comes every 0.6 s. Entries are chained that a killed process left, and those of
    services of a release that does not chain yet.
    """

    def __init__(
        self,
        management: ManagementPool,
        tenant_pools: TenantPools,
        servers: DatabaseServers,
        anchors: AuditAnchors,
        protection: AuditProtection,
        round_seconds: float,
    ) -> None:
        self._management = management
        self._tenants = tenant_pools
        self._servers = servers
        self._anchors = anchors
        self._protection = protection
        self._round_seconds = round_seconds
        self._visited: dict[_Place, int] = {}
        self.task = PeriodicTask(
            self.round,
            round_seconds,
            _log,
            "audit_sweep.unavailable",
            "audit logs of tenants cannot be visited",
        )

    async def round(self) -> None:
        """Visit the tenants that need it; raise the last refusal of one that is active."""
        async with self._management.connection() as connection:
            active = await tenants.list_active(connection)
        writes, failure = await self._writes({tenant.server_id for tenant in active})
        await self._anchors.anchor("")
        for tenant in self._to_visit(active, writes):
            try:
                await self._visit(tenant)
            except (TenantNotFound, TenantNotReady):
                continue  # it was suspended meanwhile
            except DomainError as error:
                failure = error
                continue
            self._visited[_place(tenant)] = writes.get(_place(tenant), 0)
        if failure is not None:
            raise failure

    async def _writes(
        self, server_ids: Collection[str]
    ) -> tuple[dict[_Place, int], DomainError | None]:
        """Return how much has been written to each database, and the last refusal of a server."""
        found: dict[_Place, int] = {}
        failure: DomainError | None = None
        for server_id in server_ids:
            try:
                server = await self._servers.of(server_id)
                async with server.provisioner() as provisioner:
                    activity = await database_activity.read(provisioner)
            except (ServerUnavailable, ServerNotFound, ServerLost) as error:
                failure = error
                continue
            SERVER_CONNECTIONS.labels(server_id).set(activity.connections)
            SERVER_MAX_CONNECTIONS.labels(server_id).set(activity.max_connections)
            found |= {(server_id, name): count for name, count in activity.writes.items()}
        return found, failure

    def _to_visit(self, active: Sequence[Tenant], writes: Mapping[_Place, int]) -> list[Tenant]:
        """Return the tenants whose databases have changed, and some of the unvisited ones."""
        places = {_place(tenant) for tenant in active}
        self._visited = {place: n for place, n in self._visited.items() if place in places}
        new = [tenant for tenant in active if _place(tenant) not in self._visited]
        changed = [
            tenant
            for tenant in active
            if self._visited.get(_place(tenant)) not in (None, writes.get(_place(tenant)))
        ]
        return [*changed, *new[: max(1, round(self._round_seconds / _TENANT_SECONDS))]]

    async def _visit(self, tenant: Tenant) -> None:
        async with self._tenants.connection(tenant.tenant_id) as connection:
            await audit_logs.chain(connection)
            server = await self._servers.of(tenant.server_id)
            await self._protection.protect(connection, server, tenant.database)
        await self._anchors.anchor(tenant.tenant_id)


def _place(tenant: Tenant) -> _Place:
    return (tenant.server_id, tenant.database.name)
