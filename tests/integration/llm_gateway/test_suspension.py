"""A tenant is suspended while a model speaks."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from tests.integration.llm_gateway.asking import Asking

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya.tenant.v1 import tenant_service_pb2_grpc

if TYPE_CHECKING:
    from tests.integration.llm_gateway.house import House


async def test_a_reply_that_comes_to_a_suspended_tenant_is_there_when_it_is_resumed(
    house: House,
) -> None:
    tenant_id, log = f"suspended-{secrets.token_hex(4)}", house.gateways[0].log
    async with house.person(house.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        created = await tenants.CreateTenant(
            pb.CreateTenantRequest(tenant_id=tenant_id, request_id=tenant_id, name=tenant_id)
        )
        house.databases[tenant_id] = created.tenant.database
        asking = await Asking.of(house, house.gateways[0], tenant_id)
        rule = house.stub.script(asking.word, {"kind": "hold"})
        asked = asyncio.create_task(asking.ask())
        await asyncio.to_thread(house.stub.wait_until_held, rule)

        await tenants.SuspendTenant(pb.SuspendTenantRequest(tenant_id=tenant_id))
        waited = log.read_text().count("storing a reply must wait")
        house.stub.release(rule)
        async with asyncio.timeout(30):
            while log.read_text().count("storing a reply must wait") == waited:  # noqa: ASYNC110 - another process's log
                await asyncio.sleep(0.05)
        await tenants.ResumeTenant(pb.ResumeTenantRequest(tenant_id=tenant_id))
        answered = await asked

    assert answered.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(answered.call.attempts) == len(asking.sent()) == 1
    await asking.close()
