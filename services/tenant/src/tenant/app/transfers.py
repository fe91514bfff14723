"""Exports and imports as callers begin them, and the bundles that they send and fetch."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from bundle.manifest_json import parse
from bundle.names import MANIFEST
from bundle.stream import tar_bytes, tar_size
from dataplane import audit
from tenant.domain.deletion import StoreReport
from tenant.domain.operations import OperationKind, OperationState
from tenant.domain.tenants import TenantState
from tenant.errors import TenantExists, TenantNotFound, TenantNotReady
from tenant.errors.transfers import TransfersNotConfigured, UploadInvalid
from tenant.store import operations, tenants
from tenant.threads import opened
from tenant.transfer.folder import UploadWriter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations
    from tenant.transfer.folder import TransferFolder

_DRAIN_SECONDS = 3600


class Transfers:
    """Begins operations of exports and imports, and moves the bytes of bundles."""

    def __init__(
        self,
        management: ManagementPool,
        begun: Operations,
        folder: TransferFolder,
        *,
        artifacts_known: bool,
    ) -> None:
        self._management = management
        self._operations = begun
        self._folder = folder
        self._artifacts_known = artifacts_known

    async def export(
        self, tenant_id: str, request_id: str, *, drain: bool, drain_seconds: int
    ) -> Operation:
        """Begin to write a bundle.

        Raises TenantNotFound, TenantNotReady, RequestIdReused, TransfersNotConfigured.
        """
        self._check_configured()
        seconds = (drain_seconds or _DRAIN_SECONDS) if drain else 0
        asked = (OperationKind.EXPORT_TENANT, tenant_id, request_id, {"drain_seconds": seconds})
        async with self._management.transaction() as connection:
            operation = await self._operations.known(connection, *asked)
            if operation is None:
                tenant = await tenants.find(connection, tenant_id)
                if tenant is None:
                    raise TenantNotFound(tenant_id)
                if tenant.state is not TenantState.ACTIVE:
                    raise TenantNotReady(tenant_id, tenant.state)
                operation = await self._operations.begin(connection, *asked)
                await self._note(connection, "tenant.export", operation)
        self._operations.run(operation.operation_id)
        return operation

    async def import_(
        self,
        tenant_id: str,
        request_id: str,
        bundle_id: str,
        *,
        name: str,
        jwks: str,
        server_id: str,
    ) -> Operation:
        """Begin to make a tenant of an uploaded bundle.

        Raises BundleNotFound, TenantExists, RequestIdReused, TransfersNotConfigured.
        """
        self._check_configured()
        arguments = {"bundle_id": bundle_id, "name": name, "jwks": jwks, "server_id": server_id}
        async with self._management.transaction() as connection:
            known = await operations.find_by_request_id(connection, request_id)
            if known is None and await tenants.find(connection, tenant_id) is not None:
                raise TenantExists(tenant_id)
            if known is None or known.state is OperationState.FAILED:
                await asyncio.to_thread(self._folder.upload, bundle_id)
            operation = await self._operations.begin(
                connection, OperationKind.IMPORT_TENANT, tenant_id, request_id, arguments
            )
            await self._note(connection, "tenant.import", operation)
        self._operations.run(operation.operation_id)
        return operation

    async def download(
        self, tenant_id: str, bundle_id: str, offset: int
    ) -> AsyncGenerator[int | bytes]:
        """Yield the size of a bundle's tar, then its bytes from `offset` on.

        Raises BundleNotFound, TransfersNotConfigured.
        """
        folder = await asyncio.to_thread(self._folder.export, tenant_id, bundle_id)
        manifest = parse(await asyncio.to_thread((folder / MANIFEST).read_bytes))
        yield await asyncio.to_thread(tar_size, manifest, folder)
        pieces = tar_bytes(folder, offset)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece

    async def upload(
        self, bundle_id: str, size: int, offset: int, pieces: AsyncIterator[bytes]
    ) -> tuple[int, bool]:
        """Write an upload; return how many bytes of it are there, and whether these are all.

        Raises UploadInvalid, BundleTooLarge, TransfersNotConfigured.
        """
        begin = partial(self._folder.receive, bundle_id, size, offset)
        writer = await opened(begin, UploadWriter.close)
        try:
            async for piece in pieces:
                await asyncio.to_thread(writer.write, piece)
        except UploadInvalid:
            await asyncio.to_thread(self._folder.remove_upload, bundle_id)
            raise
        finally:
            complete = await asyncio.to_thread(writer.close)
        if complete:
            async with self._management.transaction() as connection:
                details = {"size_bytes": size}
                await audit.append(connection, "bundle.upload", "bundle", bundle_id, details)
        return writer.received, complete

    async def received(self, bundle_id: str) -> tuple[int, bool]:
        """Return how many bytes of an upload are there, and whether these are all."""
        return await asyncio.to_thread(self._folder.received, bundle_id)

    async def purge(self, tenant: Tenant) -> list[StoreReport]:
        """Remove a tenant's exports, where there is a folder for them."""
        try:
            before, after = await asyncio.to_thread(self._folder.remove_exports, tenant.tenant_id)
        except TransfersNotConfigured:
            return []
        return [StoreReport("exported bundles", "files removed", before, after)]

    def _check_configured(self) -> None:
        self._folder.check()
        if not self._artifacts_known:
            raise TransfersNotConfigured("NAGAYA_ARTIFACTS_ADDRESS is not set")

    async def _note(self, connection: Connection, action: str, operation: Operation) -> None:
        details = {"operation_id": operation.operation_id, "request_id": operation.request_id}
        await audit.append(connection, action, "tenant", operation.tenant_id, details)
