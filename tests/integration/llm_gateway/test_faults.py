"""What the gateway does about each fault of a provider: how often it asks, what it tells, what it
books. The stub's own log is the judge of what was sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway_client import FAIL, REDO, Refused, by_id
from tests.support.processes import running

from nagaya.llm_gateway.v1 import (
    call_pb2,
    generation_service_pb2,
    generation_service_pb2_grpc,
)
from servicekit.call import on_behalf_of
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

    from nagaya.llm_gateway.v1 import generation_pb2

SETTLED, FAILED, UNKNOWN = (
    call_pb2.CALL_STATE_SETTLED,
    call_pb2.CALL_STATE_FAILED,
    call_pb2.CALL_STATE_UNKNOWN,
)
MODELS = ("claude-sonnet-5-5", "gpt-6.2-sol", "gemini-3.8-flash")
ALWAYS = {"times": 100}
ONCE = {"times": 1}


@dataclass(frozen=True)
class Case:
    """A fault, and what must come of it."""

    name: str
    action: dict[str, Any]
    attempts: tuple[int, ...]
    reason: str = ""
    rule: dict[str, Any] = field(default_factory=lambda: ONCE)
    policy: int = FAIL
    state: int = SETTLED
    deadline: float = 30.0


def status(code: int, **headers: str) -> dict[str, Any]:
    return {"kind": "status", "status": code, "headers": headers}


RETRIED = (FAILED, SETTLED)
# What every provider says with the same status.
OF_HTTP = (
    Case("429, then well", status(429, **{"retry-after": "0.3"}), RETRIED),
    Case("429 for longer than the caller waits", status(429, **{"retry-after": "100"}), (FAILED,),
         "PROVIDER_LIMITED", state=FAILED, deadline=5.0),
    Case("429 for good", status(429), (FAILED,) * 3, "PROVIDER_LIMITED", ALWAYS, state=FAILED),
    Case("402", status(402), (FAILED,), "PROVIDER_LIMITED", state=FAILED),
    Case("overloaded for good", {"kind": "overloaded"}, (FAILED,) * 3, "PROVIDER_UNAVAILABLE",
         ALWAYS, state=FAILED),
    Case("500, then well", status(500), RETRIED),
    Case("503, then well", status(503), RETRIED),
    Case("504, then well", status(504), RETRIED),
    Case("408, then well", status(408), RETRIED),
    Case("400", status(400), (FAILED,), "PROVIDER_REFUSED", state=FAILED),
    Case("401", status(401), (FAILED,), "PROVIDER_REFUSED", state=FAILED),
    Case("403", status(403), (FAILED,), "PROVIDER_REFUSED", state=FAILED),
    Case("404", status(404), (FAILED,), "PROVIDER_REFUSED", state=FAILED),
    Case("413", status(413), (FAILED,), "PROVIDER_REFUSED", state=FAILED),
    Case("a redirect", status(307, location="http://127.0.0.1:1/"), (FAILED,), "PROVIDER_REFUSED",
         state=FAILED),
    Case("do not retry", status(503, **{"x-should-retry": "false"}), (FAILED,),
         "PROVIDER_UNAVAILABLE", state=FAILED),
    Case("drop before the first byte", {"kind": "drop"}, (UNKNOWN,), "CALL_OUTCOME_UNKNOWN",
         state=UNKNOWN),
    Case("drop before the first byte, redone", {"kind": "drop"}, (UNKNOWN, SETTLED), policy=REDO),
    Case("drops for good, redone", {"kind": "drop"}, (UNKNOWN,) * 3, "PROVIDER_UNAVAILABLE",
         ALWAYS, REDO, UNKNOWN),
    Case("silence", {"kind": "hang"}, (UNKNOWN,), "CALL_OUTCOME_UNKNOWN", state=UNKNOWN),
    Case("slow to begin", {"kind": "delay", "delay_ms": 300}, (SETTLED,)),
)  # fmt: skip
# What each says in words of its own.
OF_A_WIRE_FORMAT = (
    Case("spend limit", {"kind": "spend_limit"}, (FAILED,), "PROVIDER_LIMITED", state=FAILED),
    Case("overloaded, then well", {"kind": "overloaded"}, RETRIED),
    Case("drop in the reply", {"kind": "drop", "after_bytes": 900}, (UNKNOWN,),
         "CALL_OUTCOME_UNKNOWN", state=UNKNOWN),
    Case("drop in the reply, redone", {"kind": "drop", "after_bytes": 900}, (UNKNOWN, SETTLED),
         policy=REDO),
    Case("silence in the reply, redone", {"kind": "hang", "after_chunks": 2}, (UNKNOWN, SETTLED),
         policy=REDO),
    Case("an error under 200, then well", {"kind": "error_event"}, RETRIED),
    Case("failed under 200, then well", {"kind": "failed"}, RETRIED),
    Case("failed under 200 for good", {"kind": "failed"}, (FAILED,) * 3, "PROVIDER_UNAVAILABLE",
         ALWAYS, state=FAILED),
    Case("truncated JSON", {"kind": "truncated_json"}, (FAILED,), "REPLY_INVALID", state=FAILED),
    Case("an unknown event", {"kind": "unknown_event"}, (SETTLED,)),
    Case("one chunk many times", {"kind": "repeated_chunk", "times": 30}, (SETTLED,)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "model"),
    [
        *((case, MODELS[n % 3]) for n, case in enumerate(OF_HTTP)),
        *((case, model) for case in OF_A_WIRE_FORMAT for model in MODELS),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_a_fault_has_the_consequences_that_it_should(
    stack: GatewayStack, client: GatewayClient, case: Case, model: str
) -> None:
    stack.stub.script(client.word, case.action, **case.rule)
    spec = client.spec(model=by_id(model), unknown_policy=case.policy)
    impatient = await client.via(stack.gateways[1])

    reason = await reason_of(impatient, spec, case.deadline)
    call = await client.get_call()

    assert reason == case.reason
    assert tuple(attempt.state for attempt in call.attempts) == case.attempts
    assert call.state == case.state
    assert len(client.provider_calls()) == len(case.attempts)
    check_money(call)


async def reason_of(
    client: GatewayClient, spec: generation_pb2.GenerationSpec, deadline: float
) -> str:
    try:
        await client.generate(spec, seconds=deadline)
    except Refused as error:
        return error.reason
    return ""


def check_money(call: call_pb2.Call) -> None:
    """A call costs what its attempts cost; only where no figure came is it an estimate."""
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)
    for attempt in call.attempts:
        if attempt.state == SETTLED:
            assert not attempt.estimated
        if attempt.state == UNKNOWN:
            assert attempt.estimated
            assert attempt.cost_micro_usd > 0
        if attempt.state == FAILED and attempt.http_status != 200:
            assert attempt.cost_micro_usd == 0


async def test_a_provider_that_never_ends_is_given_up_after_the_time_for_a_reply(
    stack: GatewayStack, client: GatewayClient
) -> None:
    action = {"kind": "reply", "text": "cranes " * 4_000, "chunks": 40}
    stack.stub.script(client.word, action, latency={"first_token_ms": 0, "chunk_ms": 250})

    with running(stack.gateway("hasty", NAGAYA_PROVIDER_REPLY_SECONDS="2")) as gateway:
        hasty = await client.via(gateway)
        reason = await reason_of(hasty, client.spec(), 30)
    call = await client.get_call()

    assert reason == "CALL_OUTCOME_UNKNOWN"
    assert "the time for a reply was over" in call.attempts[0].error
    assert call.attempts[0].usage.output_tokens > 0
    check_money(call)


async def test_retry_after_is_a_floor(stack: GatewayStack, client: GatewayClient) -> None:
    stack.stub.script(client.word, status(429, **{"retry-after": "1.5"}), times=1)

    await client.generate()

    first, second = (datetime.fromisoformat(call["begin_time"]) for call in client.provider_calls())
    assert 1.5 <= (second - first).total_seconds() < 15


async def test_a_limited_caller_gets_a_retry_delay(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, status(429, **{"retry-after": "77"}))

    with pytest.raises(Refused) as refused:
        await client.generate(seconds=5)

    assert refused.value.metadata["retry_after_ms"] == "77000"
    assert refused.value.metadata["http_status"] == "429"


async def test_no_attempt_begins_after_the_callers_deadline(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "overloaded", "delay_ms": 1_800}, **ALWAYS)

    with pytest.raises(Refused):
        await client.generate(seconds=2)

    assert len(client.provider_calls()) == 1


async def test_a_reply_longer_than_its_caller_waits_is_still_settled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 1})
    asked = asyncio.create_task(client.generate(seconds=3))
    await stack.stub.wait_until_held(rule, asked)
    with pytest.raises(Refused):
        await asked

    stack.stub.release(rule)
    again = await client.generate()

    assert again.call.state == SETTLED
    assert len(client.provider_calls()) == 1


async def test_an_unknown_outcome_is_refused_until_somebody_says_redo(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "drop"}, times=1)
    for _ in range(2):
        assert await reason_of(client, client.spec(), 30) == "CALL_OUTCOME_UNKNOWN"
    assert len(client.provider_calls()) == 1

    redone = await client.generate(client.spec(unknown_policy=REDO))

    assert [attempt.state for attempt in redone.call.attempts] == [UNKNOWN, SETTLED]
    assert len(client.provider_calls()) == 2


async def test_a_failed_call_may_be_tried_again(stack: GatewayStack, client: GatewayClient) -> None:
    stack.stub.script(client.word, status(400), times=1)
    assert await reason_of(client, client.spec(), 30) == "PROVIDER_REFUSED"

    again = await client.generate()

    assert not again.replayed
    assert [attempt.state for attempt in again.call.attempts] == [FAILED, SETTLED]


async def test_a_channel_that_repeats_does_not_multiply_the_attempts(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "overloaded"}, **ALWAYS)
    request = generation_service_pb2.GenerateRequest(tenant_id="acme", spec=client.spec())

    async with stack.workload(stack.gateways[0], "runs") as channel:
        stub = generation_service_pb2_grpc.GenerationServiceStub(channel)
        with on_behalf_of(tenant_id="acme", user_id="ada"), pytest.raises(Unavailable):
            await stub.Generate(request)

    assert len(client.provider_calls()) == 3
