"""Finds what belongs to no tenant, and removes what certainly nobody wants."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from tenant.app.repair_decision import RepairDecision
from tenant.domain.databases import CREATING, OPERATION
from tenant.domain.operations import OperationState
from tenant.domain.repair import Finding, FindingAction, FindingKind
from tenant.domain.tenants import TenantState
from tenant.errors import TenantBusy, TenantExists
from tenant.operations.saga import tenant_lock
from tenant.store import deletion_certificates, installation, open_operations, strays, tenants
from tenant.store.locks import LockHeld
from tenant.store.open_operations import states_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from dataplane.tenants import ManagementPool
    from tenant.app.server_leftovers import ServerLeftovers
    from tenant.domain.tenants import Tenant
    from tenant.peers.tenant_data import TenantDataPeers
    from tenant.provisioning import Provisioning
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks
    from tenant.store.strays import FoundDatabase

_LOST = "It may be a tenant's whose row was lost: look into it before it is removed."
_RESTORED = (
    "The registry may have been restored: a server has a database of no tenant, or could not be "
    "looked at. Remove it by its name, once it is certain that the id was not used again."
)
_PEERS = ("runs", "llm-gateway", "artifacts")
_LOCK_SECONDS = 10.0


class TenantRepair:
    """Compares the registry with the database servers and with what the services keep.

    Certainly nobody wants: a database whose creation never ended and that no tenant has, roles
    without database and tenant, and what is kept of a tenant that was purged. Whatever else belongs
    to no tenant is kept and reported, because the registry may have been restored from a backup.
    For the same reason the data of a purged id is kept while there is a database that may be the
    one of a tenant created of that id again.
    """

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        servers: DatabaseServers,
        provisioning: Provisioning,
        peers: TenantDataPeers,
        leftovers: ServerLeftovers,
    ) -> None:
        self._management = management
        self._locks = locks
        self._servers = servers
        self._provisioning = provisioning
        self._peers = peers
        self._leftovers = leftovers
        self._failed: set[str] = set()

    async def run(
        self, removed: Collection[str], *, dry_run: bool, by_schedule: bool = False
    ) -> tuple[list[Finding], list[str]]:
        """Return what was found, and what could not be looked at.

        What is certain is removed, and what `removed` names; nothing in a dry run. What cannot be
        removed is kept, and its hint says why. The schedule writes one audit entry for what fails
        again and again.
        """
        findings: list[Finding] = []
        unchecked: list[str] = []
        failed = self._failed if by_schedule else set[str]()
        decide = RepairDecision(self._management, removed, failed, dry_run=dry_run)
        for server_id in await self._servers.all_ids():
            try:
                async for one in self._of_server(server_id, decide):
                    findings.append(one)  # noqa: PERF401 - kept if a later one fails
                findings += await self._leftovers.remove(server_id, decide)
            except DomainError as error:
                unchecked.append(error.message)
        restored = bool(unchecked) or any(one.hint == _LOST for one in findings)
        for service in _PEERS:
            if not self._peers.knows(service):
                unchecked.append(f"the address of {service} is not set")
                continue
            try:
                async for one in self._of_peer(service, decide, keep_purged=restored):
                    findings.append(one)
            except DomainError as error:
                unchecked.append(f"{service}: {error.message}")
        failed.intersection_update({one.name for one in findings})
        findings += await self._unfinished()
        return findings, unchecked

    async def _of_server(self, server_id: str, decide: RepairDecision) -> AsyncIterator[Finding]:
        """Compare the databases and roles of a server with the tenants. Raises Unavailable."""
        server = await self._servers.of(server_id)
        async with self._management.connection() as connection:
            marker = await installation.marker(connection)
            async with server.provisioner() as provisioner:
                # In this order: a tenant's row is older than its database and its roles.
                found = await strays.databases_of(provisioner, marker)
                managers = f"{server.management.name}_steward_"
                roles = await strays.groups_without_database(provisioner, managers)
                existing = await strays.existing(provisioner)
            registered = await tenants.list_all(connection)
            wanted = await open_operations.texts(connection)
        known = [tenant for tenant in registered if tenant.server_id == server_id]
        named = {tenant.database.name for tenant in known}
        for one in found:
            if not one.ours or one.database.name in named:
                continue
            states = states_of(wanted, one.database.name, one.operation_id)
            if OperationState.FAILED in states:
                yield _of_failed(server_id, one)
            elif not states:
                yield await self._database(server_id, one, decide)
        for database in roles:
            if database.name not in named and not states_of(wanted, database.name):
                name = f"{server_id}/{database.name}"
                what = "roles without a database, of no tenant"
                finding = Finding(FindingKind.ROLES, name, what, FindingAction.KEPT)
                remove = partial(self._provisioning.drop, server_id, database)
                yield await decide(finding, certain=True, remove=remove)
        for tenant in known:
            if tenant.database.name not in existing and _has_database(tenant):
                yield _without_database(tenant)

    async def _database(
        self, server_id: str, found: FoundDatabase, decide: RepairDecision
    ) -> Finding:
        """Decide about a database that no tenant has."""
        finding = Finding(
            FindingKind.DATABASE,
            f"{server_id}/{found.database.name}",
            _said_of(found),
            FindingAction.KEPT,
            _LOST,
        )
        certain = found.invalid or found.marker == CREATING
        remove = partial(self._provisioning.drop, server_id, found.database)
        return await decide(finding, certain=certain, remove=remove)

    async def _of_peer(
        self, service: str, decide: RepairDecision, *, keep_purged: bool
    ) -> AsyncIterator[Finding]:
        """Compare what a service keeps with the tenants. Raises Unavailable."""
        stores = await self._peers.tenant_ids(service)
        # In this order: a tenant's row is older than what is kept of it.
        async with self._management.connection() as connection:
            known = {tenant.tenant_id for tenant in await tenants.list_all(connection)}
            purged = await deletion_certificates.purged(connection)
            wanted = await open_operations.tenant_ids(connection)
        found: dict[str, list[str]] = {}
        for store, tenant_ids in stores.items():
            for tenant_id in tenant_ids - known - wanted:
                found.setdefault(tenant_id, []).append(store)
        for tenant_id in sorted(found):
            was_purged = tenant_id in purged
            yield await decide(
                Finding(
                    FindingKind.DATA,
                    f"{service}/{tenant_id}",
                    f"of {'a purged' if was_purged else 'an unknown'} tenant: "
                    + ", ".join(sorted(found[tenant_id])),
                    FindingAction.KEPT,
                    _RESTORED if was_purged else _LOST,
                ),
                certain=was_purged and not keep_purged,
                remove=partial(self._remove_data, service, tenant_id),
            )

    async def _remove_data(self, service: str, tenant_id: str) -> None:
        """Have a service remove what it has of a tenant that there is not.

        Raises TenantExists where a tenant has been made of that id since, TenantBusy.
        """
        try:
            async with self._locks.holding(tenant_lock(tenant_id), _LOCK_SECONDS) as connection:
                if await tenants.find(connection, tenant_id) is not None:
                    raise TenantExists(tenant_id)
                async for _ in self._peers.purge(service, tenant_id):
                    pass
        except LockHeld:
            raise TenantBusy(tenant_id, "") from None

    async def _unfinished(self) -> list[Finding]:
        """Return the tenants that somebody has to finish or delete."""
        async with self._management.connection() as connection:
            known = await tenants.list_all(connection)
            running = await open_operations.running_tenant_ids(connection)
        return [
            Finding(
                FindingKind.UNFINISHED,
                tenant.tenant_id,
                f"it is {tenant.state}, and nothing goes on with that",
                FindingAction.KEPT,
                _HINTS[tenant.state],
            )
            for tenant in known
            if tenant.state in _HINTS and tenant.tenant_id not in running
        ]


def _of_failed(server_id: str, found: FoundDatabase) -> Finding:
    return Finding(
        FindingKind.DATABASE,
        f"{server_id}/{found.database.name}",
        "a database of an operation that has failed",
        FindingAction.KEPT,
        "ListOperations shows why; ResumeOperation goes on, CancelOperation removes it.",
    )


def _without_database(tenant: Tenant) -> Finding:
    return Finding(
        FindingKind.DATABASE_MISSING,
        tenant.tenant_id,
        f"its database {tenant.database.name} is not on the server {tenant.server_id}",
        FindingAction.KEPT,
        "Restore a backup with RestoreBackup, or delete the tenant with DeleteTenant.",
    )


def _has_database(tenant: Tenant) -> bool:
    return tenant.state in (TenantState.ACTIVE, TenantState.SUSPENDED) or (
        tenant.state is TenantState.DELETED and tenant.was_active
    )


def _said_of(found: FoundDatabase) -> str:
    if found.invalid:
        return "a database whose removal was interrupted, of no tenant"
    if found.marker == CREATING:
        return "a database whose creation never ended, of no tenant"
    if found.marker.startswith(OPERATION):
        return f"a database of the {found.marker}, which has ended"
    return "a complete database of no tenant"


_HINTS = {
    TenantState.CREATING: "ListOperations shows why; ResumeOperation or the same request goes on, "
    "DeleteTenant removes it.",
    TenantState.PURGING: "ListOperations shows why; ResumeOperation or PurgeTenant goes on.",
}
