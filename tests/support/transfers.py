"""Exports, uploads and imports, as a client makes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support.tenant_rows import fill

from nagaya.tenant.v1 import (
    operation_pb2,
    operation_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
    transfer_service_pb2,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.installation import Installation


async def create(installation: Installation, tenant_id: str = "acme") -> tenant_pb2.Tenant:
    request = tenant_service_pb2.CreateTenantRequest(
        tenant_id=tenant_id, request_id=f"create {tenant_id}", name="Acme & Söhne"
    )
    return (await installation.tenants.CreateTenant(request)).tenant


async def filled(
    installation: Installation, tenant_id: str = "acme"
) -> tuple[tenant_pb2.Tenant, dict[str, bytes]]:
    """Create a tenant with rows in every table, and its objects."""
    tenant = await create(installation, tenant_id)
    connection = await installation.superuser(tenant.database)
    files = await fill(connection, tenant_id)
    await connection.close()
    installation.place.put_objects(tenant_id, files)
    await asyncio.sleep(0.1)  # until the S3 server sees what was put behind its back
    return tenant, files


async def ended(
    installation: Installation, operation: operation_pb2.Operation
) -> operation_pb2.Operation:
    request = operation_service_pb2.WatchOperationRequest(operation_id=operation.operation_id)
    last = operation
    async for response in installation.operations.WatchOperation(request):
        last = response.operation
    return last


async def exported(
    installation: Installation,
    tenant_id: str = "acme",
    *,
    drain: bool = False,
    drain_seconds: int = 0,
) -> operation_pb2.Operation:
    request = transfer_service_pb2.CreateExportRequest(
        tenant_id=tenant_id,
        request_id=str(uuid4()),
        drain=drain,
        drain_seconds=drain_seconds,
    )
    begun = (await installation.transfers.CreateExport(request)).operation
    return await ended(installation, begun)


async def downloaded(
    installation: Installation, bundle_id: str, offset: int = 0, tenant_id: str = "acme"
) -> tuple[int, bytes]:
    request = transfer_service_pb2.DownloadBundleRequest(
        tenant_id=tenant_id, bundle_id=bundle_id, offset=offset
    )
    size, data = 0, bytearray()
    async for response in installation.transfers.DownloadBundle(request):
        size = response.size_bytes or size
        data += response.data
    return size, bytes(data)


async def bundle_of(installation: Installation, tenant_id: str = "acme") -> bytes:
    operation = await exported(installation, tenant_id)
    assert operation.state == operation_pb2.OPERATION_STATE_DONE, operation
    size, data = await downloaded(installation, operation.result["bundle_id"], tenant_id=tenant_id)
    assert len(data) == size == int(operation.result["size_bytes"])
    return data


async def uploaded(
    installation: Installation,
    data: bytes,
    bundle_id: str = "",
    *,
    offset: int = 0,
    size: int | None = None,
) -> str:
    bundle_id = bundle_id or str(uuid4())

    async def messages() -> AsyncIterator[transfer_service_pb2.UploadBundleRequest]:
        yield transfer_service_pb2.UploadBundleRequest(
            upload=transfer_service_pb2.BundleUpload(
                bundle_id=bundle_id, size_bytes=len(data) if size is None else size, offset=offset
            )
        )
        for at in range(offset, len(data), 1 << 20):
            yield transfer_service_pb2.UploadBundleRequest(data=data[at : at + (1 << 20)])

    await installation.transfers.UploadBundle(messages())
    return bundle_id


async def begin_import(
    installation: Installation,
    source: Installation,
    bundle_id: str,
    tenant_id: str = "acme",
    request_id: str = "",
    *,
    trusted: bool = True,
) -> operation_pb2.Operation:
    jwks = source.place.keys.jwks_file.read_text() if trusted else ""
    request = transfer_service_pb2.CreateImportRequest(
        tenant_id=tenant_id,
        request_id=request_id or str(uuid4()),
        bundle_id=bundle_id,
        jwks=jwks,
    )
    return (await installation.transfers.CreateImport(request)).operation


async def imported(
    installation: Installation, source: Installation, data: bytes, tenant_id: str = "acme"
) -> tenant_pb2.Tenant:
    bundle_id = await uploaded(installation, data)
    begun = await begin_import(installation, source, bundle_id, tenant_id)
    operation = await ended(installation, begun)
    assert operation.state == operation_pb2.OPERATION_STATE_DONE, operation
    request = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
    return (await installation.tenants.GetTenant(request)).tenant
