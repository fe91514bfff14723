"""What the client repeats by itself, and what it does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import descriptor_pool
from tests.unit.client.api import Api, Refusal

from nagaya.runs.v1 import prompt_service_pb2
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2
from nagaya_client.contract import RETRYABLE, is_repeatable
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from tests.unit.client.api import RecordedCall

    from nagaya_client.client import Client

GET = tenant_service_pb2.GetTenantRequest(tenant_id="acme")
GOT = tenant_service_pb2.GetTenantResponse(tenant=tenant_pb2.Tenant(tenant_id="acme"))
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "", reason="")


async def test_what_the_contract_lets_be_repeated_is_repeated(api: Api, client: Client) -> None:
    answers: list[object] = [BROKEN, BROKEN, GOT]
    api.on("GetTenant", lambda _: answers.pop(0))

    assert await client.tenants.GetTenant(GET) == GOT
    sent = {call.metadata["x-request-id"] for call in api.calls}
    assert (len(api.calls), len(sent)) == (3, 1)


async def test_calls_are_repeated_however_many_were_under_way_at_a_server_that_died(
    api: Api, client: Client
) -> None:
    broken = set[object]()

    def break_the_first_attempt(call: RecordedCall) -> object:
        request_id = call.metadata["x-request-id"]
        if request_id in broken:
            return GOT
        broken.add(request_id)
        return BROKEN

    api.on("GetTenant", break_the_first_attempt)

    calls = (client.tenants.GetTenant(GET) for _ in range(300))

    assert await asyncio.gather(*calls) == [GOT] * 300


async def test_a_large_request_is_repeated_too(api: Api, client: Client) -> None:
    answers: list[object] = [BROKEN, prompt_service_pb2.CreatePromptVersionResponse()]
    api.on("CreatePromptVersion", lambda _: answers.pop(0))
    request = prompt_service_pb2.CreatePromptVersionRequest(tenant_id="acme", content="x" * 600_000)

    await client.prompts.CreatePromptVersion(request)

    assert len(api.calls) == 2


async def test_an_empty_request_id_is_filled_in_once_for_each_call(
    api: Api, client: Client
) -> None:
    created = tenant_service_pb2.CreateTenantResponse()
    answers: list[object] = [BROKEN, BROKEN, created, created, created]
    api.on("CreateTenant", lambda _: answers.pop(0))
    request = tenant_service_pb2.CreateTenantRequest(tenant_id="acme")

    await client.tenants.CreateTenant(request)
    await client.tenants.CreateTenant(request)
    own = tenant_service_pb2.CreateTenantRequest(tenant_id="acme", request_id="mine")
    await client.tenants.CreateTenant(own)

    first, *again, second, third = [call.request.request_id for call in api.calls]
    assert first
    assert again == [first, first]
    assert second not in ("", first)
    assert third == "mine"
    assert request.request_id == ""  # the caller's message is as it was


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
async def test_only_what_the_page_of_errors_allows_is_repeated(
    api: Api, client: Client, code: grpc.StatusCode
) -> None:
    api.on("GetTenant", Refusal(code))
    with pytest.raises(ApiError):
        await client.tenants.GetTenant(GET)

    assert len(api.calls) == (4 if code.name in RETRYABLE else 1)


@pytest.mark.parametrize("code", RETRYABLE)
async def test_a_refusal_that_says_so_is_not_repeated(api: Api, client: Client, code: str) -> None:
    api.on("GetTenant", Refusal(grpc.StatusCode[code], retry_at_once=False))
    with pytest.raises(ApiError, match="no"):
        await client.tenants.GetTenant(GET)

    assert len(api.calls) == 1


async def test_no_method_that_changes_something_once_is_repeated() -> None:
    """Every method of the contracts declares what a repetition does; uploads stream."""
    names = (
        "nagaya.artifacts.v1.ArtifactService",
        "nagaya.llm_gateway.v1.GenerationService",
        "nagaya.runs.v1.RunService",
        "nagaya.tenant.v1.TenantService",
    )
    services = [descriptor_pool.Default().FindServiceByName(name) for name in names]
    kept = {m.name for service in services for m in service.methods if not is_repeatable(m)}
    assert kept == {"UploadArtifact"}
