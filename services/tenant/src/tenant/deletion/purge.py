"""PurgeTenant as a saga: remove all that is a tenant's, look again, sign what was found."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from dataplane import audit
from servicekit.times import now
from tenant.deletion.certificate import CertificateFacts, certificate_of, text_of
from tenant.deletion.written_log import LOST, WrittenLogs
from tenant.domain.deletion import (
    StoreContents,
    StoreReport,
    again,
    compared,
    contents_of,
    head_of,
    reports_of,
    rows_report,
    to_note,
)
from tenant.domain.operations import RESULT, OperationKind, OperationState
from tenant.errors import ServerNotFound, ServerUnavailable, TenantNotFound
from tenant.errors.deletion import PurgeIncomplete
from tenant.operations.saga import Saga, Step
from tenant.store import (
    databases,
    deletion_certificates,
    installation,
    open_operations,
    operations,
    published_migrations,
    roles,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from signing import DocumentSigner
    from tenant.domain.databases import Database
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations
    from tenant.peers.tenant_data import TenantDataPeers
    from tenant.provisioning import Provisioning
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.database_servers import DatabaseServers

# Whoever starts work first: no workflow may go on while files are removed.
PEERS = ("runs", "llm-gateway", "artifacts")
UNDONE = frozenset(
    {
        OperationKind.CLONE_TENANT,
        OperationKind.CREATE_BACKUP,
        OperationKind.EXPORT_TENANT,
        OperationKind.IMPORT_TENANT,
        OperationKind.MOVE_TENANT,
        OperationKind.RESTORE_BACKUP,
        OperationKind.VERIFY_BACKUP,
    }
)
"""The kinds of a tenant's operations that can be cancelled."""


class TenantFiles(Protocol):
    """Files that the tenant service itself keeps of tenants, such as backups."""

    async def purge(self, tenant: Tenant) -> Sequence[StoreReport]:
        """Remove a tenant's, or say until when they are kept. It may be called again."""
        ...


class TenantPurge:
    """The steps of a purge. The tenant's row is the last thing that goes."""

    def __init__(
        self,
        servers: DatabaseServers,
        provisioning: Provisioning,
        peers: TenantDataPeers,
        begun: Operations,
        signer: DocumentSigner,
        files: Sequence[TenantFiles],
        anchors: SignedAnchors,
    ) -> None:
        self._servers = servers
        self._provisioning = provisioning
        self._peers = peers
        self._begun = begun
        self._signer = signer
        self._files = files
        self._anchors = anchors
        self._logs = WrittenLogs(servers, begun)

    def saga(self) -> Saga:
        """Return the saga."""
        removals = [Step(peer, partial(self._remove, peer)) for peer in PEERS]
        steps = [
            Step("operations", self._end_operations),
            Step("inventory", self._inventory),
            *removals,
            Step("database", self._drop),
            Step("files", self._remove_files),
            Step("wal", self._overwrite_wal),
            Step("look_again", self._look_again),
            Step("certificate", self._certify),
        ]
        return Saga(OperationKind.PURGE_TENANT, steps)

    async def _end_operations(self, connection: Connection, operation: Operation) -> None:
        """Have the tenant's other operations undone: they have copies of it elsewhere.

        Raises PurgeIncomplete until they have ended. Meanwhile the tenant's lock is theirs.
        """
        tenant_id = operation.tenant_id
        found = await open_operations.of_tenant(connection, tenant_id, operation.operation_id)
        async with connection.transaction():
            for other in found:
                # Also anew where it was asked for and has failed.
                if other.kind in UNDONE and (other.ended or not other.cancel_requested):
                    await operations.request_cancellation(connection, other.operation_id)
                if other.kind in UNDONE and not other.cancel_requested:
                    details = {"kind": other.kind, "tenant_id": tenant_id}
                    action = "operation.cancel"
                    await audit.append(connection, action, "operation", other.operation_id, details)
        for other in found:
            if other.kind in UNDONE or not other.ended:
                self._begun.run(other.operation_id)
                left = f"the operation {other.operation_id} ({other.kind})"
                raise PurgeIncomplete(tenant_id, left)

    async def _inventory(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        """Count what there is, before anything is removed."""
        tenant = await _find(connection, operation)
        services = [
            peer
            for peer in PEERS
            if self._peers.knows(peer)
            or await published_migrations.any_of_service(connection, peer)
        ]
        found = await self._contents(tenant, services)
        rows = await tenants.count_rows(connection, tenant.tenant_id, operation.operation_id)
        head = await self._anchors.head(connection, tenant.tenant_id, tenant.database.name)
        return {
            "services": services,
            "before": to_note(found),
            "rows": rows,
            "audit_log": None if head is None else head_of(head),
        }

    async def _remove(self, service: str, _: Connection, operation: Operation) -> None:
        """Have one service remove what it keeps."""
        if service not in _services(operation):
            return
        totals = {one.store: one.found for one in contents_of(operation.notes["before"])}
        async for store, removed in self._peers.purge(service, operation.tenant_id):
            await self._begun.progress(operation, removed, totals.get(store) or 0, f"of {store}")

    async def _drop(self, connection: Connection, operation: Operation) -> None:
        """Drop the tenant's database, and what is left of those that its operations made.

        An operation that is done or cancelled has dropped them: their servers may be gone since.
        """
        tenant = await _find(connection, operation)
        await self._provisioning.drop(tenant.server_id, tenant.database)
        for made_by, server_id, database in await _made_by_operations(connection, tenant):
            try:
                await self._provisioning.drop(server_id, database)
            except (ServerNotFound, ServerUnavailable):
                if made_by.state not in (OperationState.DONE, OperationState.CANCELLED):
                    raise

    async def _remove_files(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        return {"files": to_note(await self._purge_files(await _find(connection, operation)))}

    async def _purge_files(self, tenant: Tenant) -> list[StoreReport]:
        reports: list[StoreReport] = []
        for files in self._files:
            reports += await files.purge(tenant)
        for report in reports:
            if report.found_after:
                left = f"{report.found_after} in {report.store}"
                raise PurgeIncomplete(tenant.tenant_id, left)
        return reports

    async def _overwrite_wal(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        """Have the servers write over their logs; where that cannot be, the certificate says so."""
        tenant = await _find(connection, operation)
        return {"wal": to_note(await self._logs.overwrite(operation, tenant.server_id))}

    async def _look_again(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        """Look at each store again; what has come since is removed. Raises PurgeIncomplete."""
        await self._end_operations(connection, operation)  # such as a verification begun since
        tenant, services = await _find(connection, operation), _services(operation)
        found = await self._contents(tenant, services)
        if any(one.found for one in found):
            for service in services:
                async for _ in self._peers.purge(service, operation.tenant_id):
                    pass
            await self._provisioning.drop(tenant.server_id, tenant.database)
            found = await self._contents(tenant, services)
        left = [f"{one.found} in {one.store}" for one in found if one.found]
        if left:
            raise PurgeIncomplete(operation.tenant_id, ", ".join(left))
        files = again(reports_of(operation.notes["files"]), await self._purge_files(tenant))
        return {
            "after": to_note(found),
            "files": to_note(files),
            "looked_again_time": text_of(now()),
        }

    async def _certify(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Sign the certificate, and delete the tenant's rows, in one transaction."""
        tenant_id, notes = operation.tenant_id, operation.notes
        result = {RESULT: {"certificate_id": operation.operation_id}}
        tenant = await tenants.find(connection, tenant_id)
        if tenant is None:  # all of it was done, and only the record of the step was lost
            return result
        stores = compared(contents_of(notes["before"]), contents_of(notes["after"]))
        stores += [*reports_of(notes["files"]), *reports_of(notes["wal"])]
        marker = await installation.marker(connection)
        async with connection.transaction():
            await operations.delete_of_tenant(connection, tenant_id, operation.operation_id)
            await tenants.delete(connection, tenant_id)
            left = await tenants.count_rows(connection, tenant_id, operation.operation_id)
            if left:
                raise PurgeIncomplete(tenant_id, f"{left} in the management database")
            facts = CertificateFacts(marker, tenant, [*stores, rows_report(notes)])
            signed = self._signer.sign(certificate_of(operation, facts))
            await deletion_certificates.insert(
                connection, operation.operation_id, tenant_id, signed
            )
            details = {
                "certificate_id": operation.operation_id,
                "certificate_digest": hashlib.sha256(signed).hexdigest(),
            }
            await audit.append(connection, "tenant.purged", "tenant", tenant_id, details)
        return result

    async def _contents(self, tenant: Tenant, services: Sequence[str]) -> list[StoreContents]:
        found: list[StoreContents] = []
        for service in services:
            found += await self._peers.inspect(service, tenant.tenant_id)
        return [*found, *await self._of_server(tenant)]

    async def _of_server(self, tenant: Tenant) -> list[StoreContents]:
        """Look for the database and its roles on their server, unless that is lost."""
        there, members, unproven = None, None, (LOST,)
        if (server := await self._servers.unless_lost(tenant.server_id)) is not None:
            async with server.provisioner() as provisioner:
                there = int(await databases.exists(provisioner, tenant.database))
                members = await roles.count(provisioner, tenant.database)
            unproven = ()
        on = f"of the database server {tenant.server_id}"
        return [
            StoreContents(f"databases {on}", "DROP DATABASE", there, unproven),
            StoreContents(f"roles {on}", "DROP ROLE", members, unproven),
        ]


async def _made_by_operations(
    connection: Connection, tenant: Tenant
) -> list[tuple[Operation, str, Database]]:
    """Return the databases that a tenant's operations name and no tenant has."""
    found: list[tuple[Operation, str, Database]] = []
    for operation in await operations.of_tenant(connection, tenant.tenant_id):
        for server_id, database in operation.databases:
            names = await tenants.database_names(connection, server_id)
            if database.name not in names:
                found.append((operation, server_id, database))
    return found


def _services(operation: Operation) -> Sequence[str]:
    return cast("Sequence[str]", operation.notes["services"])


async def _find(connection: Connection, operation: Operation) -> Tenant:
    tenant = await tenants.find(connection, operation.tenant_id)
    if tenant is None:
        raise TenantNotFound(operation.tenant_id)
    return tenant
