"""Looking into the ledger."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway_client import Refused

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack


async def listed(client: GatewayClient, **filters: object) -> list[call_pb2.Call]:
    """Return all calls that a list shows, in pages of two."""
    found: list[call_pb2.Call] = []
    token = ""
    while True:
        request = call_service_pb2.ListCallsRequest(
            tenant_id=client.tenant_id,
            run_id=client.run_id,
            page_size=2,
            page_token=token,
            **filters,  # pyright: ignore[reportArgumentType] - fields of the request
        )
        page = await client.list_calls(request)
        found += page.calls
        token = page.next_page_token
        if not token:
            return found


async def test_calls_are_listed_with_their_attempts_oldest_first(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "status", "status": 503}, nth=2)
    for number in range(1, 6):
        await client.generate(client.spec(f"Take {number}.", call=number))

    calls = await listed(client)

    assert [call.key.call for call in calls] == [1, 2, 3, 4, 5]
    assert [len(call.attempts) for call in calls] == [1, 2, 1, 1, 1]
    assert calls[1] == await client.get_call(2)
    assert {call.user_id for call in calls} == {"ada"}


async def test_calls_are_listed_by_state(stack: GatewayStack, client: GatewayClient) -> None:
    stack.stub.script(client.word, {"kind": "status", "status": 400}, nth=[1, 3])
    for number in range(1, 5):
        try:
            await client.generate(client.spec(call=number))
        except Refused as refused:
            assert refused.reason == "PROVIDER_REFUSED"  # noqa: PT017 - some are, some are not

    failed = await listed(client, state=call_pb2.CALL_STATE_FAILED)
    settled = await listed(client, state=call_pb2.CALL_STATE_SETTLED)

    assert [call.key.call for call in failed] == [1, 3]
    assert [call.key.call for call in settled] == [2, 4]


async def test_a_run_has_used_what_all_its_calls_have(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "status", "status": 400}, nth=[2])
    for number in range(1, 4):
        try:
            await client.generate(client.spec(call=number))
        except Refused as refused:
            assert refused.reason == "PROVIDER_REFUSED"  # noqa: PT017 - one of them is
    none = str(uuid.uuid4())

    sums, nothing = await client.summarize_usage(client.run_id, none)

    calls = await listed(client)
    assert (sums.run_id, sums.calls, sums.open_calls) == (client.run_id, 3, 0)
    assert sums.cost_micro_usd == sum(call.cost_micro_usd for call in calls) > 0
    for name in ("input_tokens", "output_tokens", "reasoning_tokens"):
        assert getattr(sums.usage, name) == sum(getattr(call.usage, name) for call in calls)
    assert nothing == call_pb2.RunUsage(run_id=none, usage=call_pb2.Usage())


async def test_a_call_in_flight_is_open_and_added_once_it_has_ended(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"})
    asked = asyncio.create_task(client.generate(client.spec()))
    await stack.stub.wait_until_held(rule, asked)

    (flying,) = await client.summarize_usage(client.run_id)
    assert (flying.open_calls, flying.cost_micro_usd) == (1, 0)

    stack.stub.release(rule)
    await asked
    (landed,) = await client.summarize_usage(client.run_id)
    assert (landed.open_calls, landed.cost_micro_usd) == (
        0,
        (await client.get_call()).cost_micro_usd,
    )


async def test_a_page_token_of_another_list_is_refused(client: GatewayClient) -> None:
    request = call_service_pb2.ListCallsRequest(tenant_id="acme", page_token="bm8tdG9rZW4")

    with pytest.raises(Refused) as refused:
        await client.list_calls(request)

    assert refused.value.reason == "PAGE_TOKEN_INVALID"
