"""The objects of tenants, which the artifacts service keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya.tenant_data.v1 import (
    tenant_data_service_pb2_grpc,
    tenant_export_service_pb2_grpc,
)
from nagaya.tenant_data.v1 import tenant_export_service_pb2 as pb
from nagaya.tenant_data.v1.tenant_data_service_pb2 import PurgeTenantDataRequest
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError
from tenant.domain.backups import TenantObject
from tenant.errors.backups import BackupsNotConfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    import grpc


class TenantObjects:
    """Lists, fetches and stores them, each call for its tenant.

    Without a channel, because the address is not set, methods raise BackupsNotConfigured; else
    what the service refuses.
    """

    def __init__(self, artifacts: grpc.aio.Channel | None) -> None:
        self._channel = artifacts

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def objects(self, tenant_id: str, snapshot_id: str) -> AsyncGenerator[TenantObject | str]:
        """Yield the tenant's path prefix, then its objects as a snapshot has them, by key."""
        request = pb.ExportTenantDataRequest(tenant_id=tenant_id, snapshot_id=snapshot_id)
        with on_behalf_of(tenant_id):
            call = self._stub().ExportTenantData(request)
        async for message in call:
            part = message.WhichOneof("part")
            yield message.path_prefix if part == "path_prefix" else _object(message.object)

    async def bodies(
        self, tenant_id: str, keys: Sequence[str]
    ) -> AsyncGenerator[TenantObject | bytes]:
        """Yield objects in the order of their keys, each followed by its bytes, in pieces."""
        request = pb.ExportTenantDataRequest(tenant_id=tenant_id, keys=keys)
        with on_behalf_of(tenant_id):
            call = self._stub().ExportTenantData(request)
        async for message in call:
            part = message.WhichOneof("part")
            if part == "object":
                yield _object(message.object)
            elif part == "data":
                yield message.data

    async def store(self, tenant_id: str, parts: AsyncIterator[TenantObject | bytes]) -> int:
        """Store objects, each followed by its bytes in pieces of at most 1 MiB; return how many."""
        failures: list[Exception] = []
        requests = _requests(tenant_id, parts, failures)
        try:
            with on_behalf_of(tenant_id):
                response = await self._stub().ImportTenantData(requests)
        except (DomainError, asyncio.CancelledError):
            if failures:
                raise failures[0] from None
            raise
        if failures:
            raise failures[0]
        return response.object_count

    async def remove_all(self, tenant_id: str) -> None:
        """Remove all objects of a tenant that never became active."""
        if self._channel is None:
            raise BackupsNotConfigured
        stub = tenant_data_service_pb2_grpc.TenantDataServiceStub(self._channel)
        with on_behalf_of(tenant_id):
            removing = stub.PurgeTenantData(PurgeTenantDataRequest(tenant_id=tenant_id))
        async for _ in removing:
            pass

    def _stub(self) -> tenant_export_service_pb2_grpc.TenantExportServiceStub:
        if self._channel is None:
            raise BackupsNotConfigured
        return tenant_export_service_pb2_grpc.TenantExportServiceStub(self._channel)


async def _requests(
    tenant_id: str, parts: AsyncIterator[TenantObject | bytes], failures: list[Exception]
) -> AsyncGenerator[pb.ImportTenantDataRequest]:
    yield pb.ImportTenantDataRequest(tenant_id=tenant_id)
    try:
        async for part in parts:
            yield _request(part)
    except Exception as error:
        # The stream ends, for gRPC would cancel it if this raised: then nobody would know when the
        # service has put what it has, and a removal could come before.
        failures.append(error)


def _request(part: TenantObject | bytes) -> pb.ImportTenantDataRequest:
    if isinstance(part, bytes):
        return pb.ImportTenantDataRequest(data=part)
    announced = pb.TenantObject(key=part.key, digest=part.digest, size_bytes=part.size_bytes)
    return pb.ImportTenantDataRequest(object=announced)


def _object(message: pb.TenantObject) -> TenantObject:
    return TenantObject(message.key, message.digest, message.size_bytes)
