"""The operation that writes a bundle of a tenant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bundle.stream import tar_size
from tenant.domain.operations import RESULT
from tenant.domain.tenants import TenantState
from tenant.errors import TenantNotFound, TenantNotReady
from tenant.errors.transfers import AuditLogAltered, RunsInFlight
from tenant.store import audit_logs, installation, tenants
from tenant.transfer import unfinished_work
from tenant.transfer.sessions import one_snapshot, table_sessions
from tenant.transfer.writing import BundleWriting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.manifest import Manifest
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from signing import DocumentSigner
    from tenant.app.audit import AuditVerification
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations
    from tenant.peers.objects import TenantObjects
    from tenant.store.database_servers import DatabaseServers
    from tenant.transfer.folder import TransferFolder
    from tenant.transfer.unfinished_work import UnfinishedWork

_LOOK_SECONDS = 0.5


class TenantExport:
    """Writes bundles into the folder of bundles; a bundle has the id of its operation."""

    def __init__(
        self,
        servers: DatabaseServers,
        pools: TenantPools,
        objects: TenantObjects,
        folder: TransferFolder,
        signer: DocumentSigner,
        begun: Operations,
        verification: AuditVerification,
    ) -> None:
        self._servers = servers
        self._pools = pools
        self._objects = objects
        self._folder = folder
        self._signer = signer
        self._operations = begun
        self._verification = verification

    async def write(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Write the bundle, as soon as nothing is in progress if `drain` was asked for.

        Raises RunsInFlight, AuditLogAltered, TenantNotFound, TenantNotReady, ServerUnavailable.
        """
        tenant = await _active(connection, operation.tenant_id)
        own_id = await installation.identifier(connection)
        async with self._pools.connection(tenant.tenant_id) as own:
            await audit_logs.chain(own)
        name = tenant.database.name
        anchored = await self._verification.anchored(tenant.tenant_id, name)
        server = await self._servers.of(tenant.server_id)
        until = asyncio.get_running_loop().time() + _drain_seconds(operation)
        async with table_sessions(server, tenant.database) as sessions:
            while True:
                async with one_snapshot(sessions) as snapshot_id:
                    left = await unfinished_work.find(sessions)
                    if not left:
                        await self._check_log(tenant, anchored, sessions["tenant"])
                        manifest = await self._write(
                            operation, tenant, sessions, snapshot_id, own_id
                        )
                        break
                if asyncio.get_running_loop().time() >= until:
                    raise RunsInFlight(tenant.tenant_id, left.runs, left.calls)
                await self._wait(operation, left)
        folder = self._folder.export(tenant.tenant_id, operation.operation_id)
        size = await asyncio.to_thread(tar_size, manifest, folder)
        return {RESULT: {"bundle_id": operation.operation_id, "size_bytes": size}}

    async def remove(self, _: Connection, operation: Operation) -> None:
        """Remove what has been written."""
        await asyncio.to_thread(
            self._folder.remove_export, operation.tenant_id, operation.operation_id
        )

    async def _write(
        self,
        operation: Operation,
        tenant: Tenant,
        sessions: Mapping[str, Connection],
        snapshot_id: str,
        installation_id: str,
    ) -> Manifest:
        folder = await asyncio.to_thread(
            self._folder.new_export, tenant.tenant_id, operation.operation_id
        )

        async def report(done: int) -> None:
            await self._operations.progress(operation, done, 0, "bytes")

        writing = BundleWriting(folder, tenant, self._objects, report)
        await writing.write_tables(sessions)
        await writing.write_index(snapshot_id)
        await writing.write_objects()
        return await writing.finish(sessions, operation.operation_id, installation_id, self._signer)

    async def _check_log(self, tenant: Tenant, anchored: int, log: Connection) -> None:
        """Raise AuditLogAltered where a bundle would pass off a log that was written anew."""
        fault = await self._verification.fault_of(
            tenant.tenant_id, tenant.database.name, anchored, log
        )
        if fault is not None:
            raise AuditLogAltered(tenant.tenant_id, fault.sequence)

    async def _wait(self, operation: Operation, left: UnfinishedWork) -> None:
        await self._operations.progress(operation, 0, left.runs + left.calls, "runs in flight")
        await asyncio.sleep(_LOOK_SECONDS)


def _drain_seconds(operation: Operation) -> float:
    return float(str(operation.arguments["drain_seconds"]))


async def _active(connection: Connection, tenant_id: str) -> Tenant:
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    if tenant.state is not TenantState.ACTIVE:
        raise TenantNotReady(tenant_id, tenant.state)
    return tenant
