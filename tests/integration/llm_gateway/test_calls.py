"""Looking into the ledger."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import Refused

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2

if TYPE_CHECKING:
    from tests.integration.llm_gateway.asking import Asking
    from tests.integration.llm_gateway.house import House


async def listed(asking: Asking, **filters: object) -> list[call_pb2.Call]:
    """Return all calls that a list shows, in pages of two."""
    found: list[call_pb2.Call] = []
    token = ""
    while True:
        request = call_service_pb2.ListCallsRequest(
            tenant_id=asking.tenant_id,
            run_id=asking.run_id,
            page_size=2,
            page_token=token,
            **filters,  # pyright: ignore[reportArgumentType] - fields of the request
        )
        page = await asking.list(request)
        found += page.calls
        token = page.next_page_token
        if not token:
            return found


async def test_calls_are_listed_with_their_attempts_oldest_first(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, {"kind": "status", "status": 503}, nth=2)
    for number in range(1, 6):
        await asking.ask(asking.spec(f"Take {number}.", call=number))

    calls = await listed(asking)

    assert [call.key.call for call in calls] == [1, 2, 3, 4, 5]
    assert [len(call.attempts) for call in calls] == [1, 2, 1, 1, 1]
    assert calls[1] == await asking.call(2)
    assert {call.user_id for call in calls} == {"ada"}


async def test_calls_are_listed_by_state(house: House, asking: Asking) -> None:
    house.stub.script(asking.word, {"kind": "status", "status": 400}, nth=[1, 3])
    for number in range(1, 5):
        try:
            await asking.ask(asking.spec(call=number))
        except Refused as refused:
            assert refused.reason == "PROVIDER_REFUSED"  # noqa: PT017 - some are, some are not

    failed = await listed(asking, state=call_pb2.CALL_STATE_FAILED)
    settled = await listed(asking, state=call_pb2.CALL_STATE_SETTLED)

    assert [call.key.call for call in failed] == [1, 3]
    assert [call.key.call for call in settled] == [2, 4]


async def test_a_run_has_used_what_all_its_calls_have(house: House, asking: Asking) -> None:
    house.stub.script(asking.word, {"kind": "status", "status": 400}, nth=[2])
    for number in range(1, 4):
        try:
            await asking.ask(asking.spec(call=number))
        except Refused as refused:
            assert refused.reason == "PROVIDER_REFUSED"  # noqa: PT017 - one of them is
    none = str(uuid.uuid4())

    sums, nothing = await asking.sums(asking.run_id, none)

    calls = await listed(asking)
    assert (sums.run_id, sums.calls, sums.open_calls) == (asking.run_id, 3, 0)
    assert sums.cost_micro_usd == sum(call.cost_micro_usd for call in calls) > 0
    for name in ("input_tokens", "output_tokens", "reasoning_tokens"):
        assert getattr(sums.usage, name) == sum(getattr(call.usage, name) for call in calls)
    assert nothing == call_pb2.RunUsage(run_id=none, usage=call_pb2.Usage())


async def test_a_call_in_flight_is_open_and_added_once_it_has_ended(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, {"kind": "delay", "delay_ms": 1_500})
    asked = asyncio.create_task(asking.ask(asking.spec()))
    await asyncio.to_thread(lambda: asking.sent(at_least=1, wait_ms=10_000))

    (flying,) = await asking.sums(asking.run_id)
    assert (flying.open_calls, flying.cost_micro_usd) == (1, 0)

    await asked
    (landed,) = await asking.sums(asking.run_id)
    assert (landed.open_calls, landed.cost_micro_usd) == (0, (await asking.call()).cost_micro_usd)


async def test_a_page_token_of_another_list_is_refused(asking: Asking) -> None:
    request = call_service_pb2.ListCallsRequest(tenant_id="acme", page_token="bm8tdG9rZW4")

    with pytest.raises(Refused) as refused:
        await asking.list(request)

    assert refused.value.reason == "PAGE_TOKEN_INVALID"
