"""A token for a tenant of the running stack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.clone.tokens import (
    check_tenant_id,
    issue_tenant_token,
    operator_token,
    token_file,
)
from nagaya_local.errors import LocalError, StackDown, TenantUnknown
from nagaya_local.parts.health import CHANNEL_OPTIONS, transport_error
from nagaya_local.supervisor.state import Phase, current_state
from tls.address import ServerAddress
from tls.credentials import open_channel

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_local.clone.layout import Layout

_GET_TENANT = "/nagaya.tenant.v1.TenantService/GetTenant"
_SECONDS = 5.0


async def issue_known_tenant_token(layout: Layout, tenant_id: str) -> Path:
    """Write a token for a person of a tenant that there is; returns its file.

    While the stack is down nobody can say which tenants there are: a token that there is already
    is renewed, as the next start would, and a new one refused. Raises LocalError.
    """
    check_tenant_id(tenant_id)
    if current_state(layout).phase is Phase.RUNNING:
        await asyncio.to_thread(_require, layout, tenant_id)
    elif not token_file(layout, tenant_id).exists():
        raise StackDown(
            f"the stack is down, so nobody can say whether there is a tenant {tenant_id}",
            "Start it with `nagaya dev up`, then ask again.",
        )
    return issue_tenant_token(layout, tenant_id)


def _require(layout: Layout, tenant_id: str) -> None:
    endpoints = Endpoints.read(layout.endpoints)
    address = ServerAddress.parse(endpoints.tenant, endpoints.client_tls)
    metadata = (("authorization", f"Bearer {operator_token(layout)}"),)
    with open_channel(address, CHANNEL_OPTIONS) as channel:
        get = channel.unary_unary(
            _GET_TENANT,
            request_serializer=pb.GetTenantRequest.SerializeToString,
            response_deserializer=pb.GetTenantResponse.FromString,
        )
        try:
            get(pb.GetTenantRequest(tenant_id=tenant_id), timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            raise _refusal(error, tenant_id) from error


def _refusal(error: grpc.RpcError, tenant_id: str) -> LocalError:
    if reason := transport_error(error):
        return StackDown(
            f"the tenant service does not answer ({reason})",
            "`nagaya dev status` shows how the parts are; `nagaya dev logs tenant` what it says.",
        )
    if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
        return TenantUnknown(
            f"there is no tenant {tenant_id}",
            f"`nagaya tenant list` shows those that there are; "
            f"`nagaya tenant create {tenant_id}` creates it.",
        )
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    return LocalError(
        f"the tenant service cannot say whether there is a tenant {tenant_id}: {details}",
        "Read its log with `nagaya dev logs tenant`.",
    )
