"""A tenant is suspended while a model speaks."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from tests.support.gateway_client import GatewayClient

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya.tenant.v1 import tenant_service_pb2_grpc

if TYPE_CHECKING:
    from tests.support.gateway_stack import GatewayStack


async def test_a_reply_that_comes_to_a_suspended_tenant_is_there_when_it_is_resumed(
    stack: GatewayStack,
) -> None:
    tenant_id, gateway = f"suspended-{secrets.token_hex(4)}", stack.gateways[0]
    async with stack.person(stack.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        created = await tenants.CreateTenant(
            pb.CreateTenantRequest(tenant_id=tenant_id, request_id=tenant_id, name=tenant_id)
        )
        stack.databases[tenant_id] = created.tenant.database
        client = await GatewayClient.open(stack, gateway, tenant_id)
        rule = stack.stub.script(client.word, {"kind": "hold"})
        asked = asyncio.create_task(client.generate())
        await stack.stub.wait_until_held(rule, asked)

        await tenants.SuspendTenant(pb.SuspendTenantRequest(tenant_id=tenant_id))
        waits = "settling a call must wait"
        waited = gateway.log.read_text().count(waits)
        stack.stub.release(rule)
        await gateway.wait_until_logged(waits, asked, times=waited + 1)
        await tenants.ResumeTenant(pb.ResumeTenantRequest(tenant_id=tenant_id))
        answered = await asked

    assert answered.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(answered.call.attempts) == len(client.provider_calls()) == 1
    await client.close()
