"""Calls of the tenant service, as tests make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import (
    server_service_pb2,
    server_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.testing import RunningServer
    from nagaya.tenant.v1 import server_pb2


def tenants(
    server: RunningServer,
    *,
    user_id: str = "ada",
    scope: str = "*",
    tenants: Sequence[str] = ("*",),
) -> tenant_service_pb2_grpc.TenantServiceStub:
    channel = server.channel(user_id=user_id, scope=scope, tenants=tenants)
    return tenant_service_pb2_grpc.TenantServiceStub(channel)


def creation(tenant_id: str, request_id: str = "r1") -> tenant_service_pb2.CreateTenantRequest:
    return tenant_service_pb2.CreateTenantRequest(
        tenant_id=tenant_id, request_id=request_id, name=tenant_id.title()
    )


def servers(server: RunningServer) -> server_service_pb2_grpc.ServerServiceStub:
    return server_service_pb2_grpc.ServerServiceStub(server.channel())


async def register(
    server: RunningServer,
    address: str,
    server_id: str = "second",
    **settings: object,
) -> server_pb2.Server:
    request = server_service_pb2.RegisterServerRequest(
        server_id=server_id,
        address=address,
        **settings,  # pyright: ignore[reportArgumentType]
    )
    return (await servers(server).RegisterServer(request)).server
