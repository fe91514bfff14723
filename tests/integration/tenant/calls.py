"""Calls of TenantService, as tests make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.testing import RunningServer


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
