"""Asking for one reply: what is sent, stored, recorded and told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.llm_gateway.stored_replies import FILES, REPLIES
from tests.support.audit_log import chain
from tests.support.gateway_client import GatewayClient, Refused, by_id, of_class, struct

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_stack import GatewayStack

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "sections": {"type": "array"}},
    "required": ["title", "sections"],
    "additionalProperties": False,
}


async def test_a_reply_is_sent_for_once_stored_and_settled(client: GatewayClient) -> None:
    done = await client.generate()

    (sent,) = client.provider_calls()
    reply = await client.reply(done.call)
    assert not done.replayed
    assert hashlib.sha256(reply["content"].encode()).hexdigest() == sent["reply_digest"]
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert not done.call.output_path
    assert await client.database.fetchval(FILES, client.run_id) == 0
    assert done.call.summary.startswith(f"{len(reply['content']):,} characters")
    assert reply["finish_reason"] == "stop"
    assert (reply["provider"], reply["model"]) == ("claude", "claude-sonnet-5-5")
    assert [a.state for a in done.call.attempts] == [call_pb2.CALL_STATE_SETTLED]
    assert done.call.attempts[0].provider_request_id == sent["request_id"]
    assert sent["idempotency"] == f"{client.run_id}/draft/0-1/1/1"


async def test_settling_leaves_one_row_in_the_audit_log(client: GatewayClient) -> None:
    await client.generate()

    await chain(client.database)
    rows = await client.database.fetch(
        "SELECT user_id, action, details FROM audit_logs WHERE resource_id LIKE $1",
        f"{client.run_id}%",
    )
    assert [(row["user_id"], row["action"]) for row in rows] == [("ada", "call.settle")]
    assert json.loads(rows[0]["details"])["attempt"] == 1


async def test_the_same_request_again_costs_nothing(client: GatewayClient) -> None:
    first = await client.generate()
    again = await client.generate()

    assert again.replayed
    assert again.call == first.call
    assert len(client.provider_calls()) == 1


async def test_a_key_cannot_be_used_for_another_request(client: GatewayClient) -> None:
    await client.generate()

    with pytest.raises(Refused) as refused:
        await client.generate(client.spec("Write about herons."))

    assert refused.value.reason == "CALL_KEY_REUSED"
    assert len(client.provider_calls()) == 1


async def test_64_simultaneous_calls_of_one_key_are_one(
    stack: GatewayStack, client: GatewayClient
) -> None:
    others = [await client.via(gateway) for gateway in stack.gateways]
    replies = await asyncio.gather(*(others[n % 2].generate() for n in range(64)))

    assert len({reply.call.SerializeToString(deterministic=True) for reply in replies}) == 1
    assert sum(not reply.replayed for reply in replies) == 1
    assert len(client.provider_calls()) == 1


async def test_a_key_in_flight_cannot_be_used_for_another_request(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"})
    first = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, first)

    other = await client.via(stack.gateways[1])
    for asked in (client, other):
        with pytest.raises(Refused, match="another request"):
            await asked.generate(asked.spec("Write about herons."))

    stack.stub.release(rule)
    await first
    assert len(client.provider_calls()) == 1


async def test_a_caller_that_goes_away_leaves_its_call_to_be_settled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"})
    first = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, first)
    first.cancel()
    stack.stub.release(rule)

    again = await client.generate()

    assert again.call.state == call_pb2.CALL_STATE_SETTLED
    assert again.replayed
    assert len(client.provider_calls()) == 1


async def test_another_process_waits_for_the_reply(
    stack: GatewayStack, client: GatewayClient
) -> None:
    other = await client.via(stack.gateways[1])
    rule = stack.stub.script(client.word, {"kind": "hold"})
    first = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, first)
    second = asyncio.create_task(other.generate())

    with pytest.raises(Refused, match="another process is still making this call"):
        await other.generate(seconds=1.0)
    stack.stub.release(rule)

    assert (await first).call == (await second).call
    assert len(client.provider_calls()) == 1


async def test_a_reply_that_a_schema_shapes_is_stored_as_its_value(client: GatewayClient) -> None:
    done = await client.generate(client.spec(output_schema=struct(SCHEMA)))

    reply = await client.reply(done.call)
    assert reply["content"].keys() == {"title", "sections"}
    assert done.call.summary.startswith("an object of 2 fields")


async def test_a_reply_that_does_not_fit_its_schema_is_paid_and_refused(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "reply", "text": '{"title": 7}'}, nth=1)
    spec = client.spec(output_schema=struct(SCHEMA))

    with pytest.raises(Refused, match="does not fit the schema") as refused:
        await client.generate(spec)
    failed = await client.get_call()
    again = await client.generate(spec)

    assert refused.value.reason == "REPLY_INVALID"
    assert refused.value.metadata["final"] == "true"  # no attempt of a step is made of it
    assert failed.state == call_pb2.CALL_STATE_FAILED
    assert failed.cost_micro_usd > 0
    assert again.call.state == call_pb2.CALL_STATE_SETTLED
    assert [a.cost_micro_usd > 0 for a in again.call.attempts] == [True, True]
    assert again.call.cost_micro_usd == sum(a.cost_micro_usd for a in again.call.attempts)


async def test_a_file_where_replies_used_to_lie_is_in_nobodys_way(client: GatewayClient) -> None:
    place = {"step": "draft", "name": "artifacts/0-1/call-1.json"}
    await client.files.write(b"{}", writer="llm-gateway", **place)

    done = await client.generate(include_reply=True)

    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert done.reply == await client.reply_bytes(done.call.key)
    assert len(client.provider_calls()) == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model": by_id("claude-sonnet-5-5"), "temperature": 0.5}, "CAPABILITY_MISSING"),
        ({"max_output_tokens": 9_000_000}, "CAPABILITY_MISSING"),
        ({"model": by_id("no-such-model")}, "MODEL_UNAVAILABLE"),
        ({"model": of_class("claude", "tiny")}, "MODEL_UNAVAILABLE"),
        ({"step": "unheard-of"}, "MODEL_UNRESOLVED"),
        ({"output_schema": struct({"type": "text"})}, "REQUEST_INVALID"),
        ({"output_schema": struct({"$ref": "https://example.com/"})}, "REQUEST_INVALID"),
        ({"output_schema": struct({"pattern": "(a+)+$"})}, "REQUEST_INVALID"),
    ],
)
async def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    client: GatewayClient, more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(**more))

    assert refused.value.reason == reason
    assert client.provider_calls() == []
    count = await client.database.fetchval(
        "SELECT count(*) FROM llm_calls WHERE run_id = $1::text::uuid", client.run_id
    )
    assert count == 0


async def test_a_call_belongs_to_a_run(client: GatewayClient) -> None:
    client.run_id = "0" * 8 + client.run_id[8:]

    with pytest.raises(Refused) as refused:
        await client.generate()

    assert refused.value.reason == "RUN_NOT_FOUND"
    assert client.provider_calls() == []


async def test_a_call_that_was_never_made_is_not_found(client: GatewayClient) -> None:
    with pytest.raises(Refused) as refused:
        await client.get_call()

    assert refused.value.reason == "CALL_NOT_FOUND"


async def test_reasoning_that_uses_up_the_limit_is_reported(
    stack: GatewayStack, client: GatewayClient
) -> None:
    action = {"kind": "reply", "text": "Cranes", "finish": "length", "reasoning_tokens": 300}
    stack.stub.script(client.word, action)

    done = await client.generate(client.spec(max_output_tokens=100))

    assert done.call.finish_reason == generation_finish("TRUNCATED_BY_REASONING")
    assert done.call.usage.reasoning_tokens == 300
    assert "truncated by reasoning" in done.call.summary


async def test_the_two_tenants_share_nothing(stack: GatewayStack, client: GatewayClient) -> None:
    other = await client.for_tenant("globex")
    other.word = client.word
    mine, theirs = await client.generate(), await other.generate()

    assert (len(client.provider_calls()), len(other.provider_calls())) == (1, 1)
    assert mine.call.request_digest == theirs.call.request_digest
    for each, its_run, another in ((client, mine, theirs), (other, theirs, mine)):
        assert await replies_of(each, its_run.call.key.run_id) == 1
        assert await replies_of(each, another.call.key.run_id) == 0


async def replies_of(client: GatewayClient, run_id: str) -> int:
    """Count a run's replies in the database of the client's tenant."""
    return await client.database.fetchval(REPLIES, run_id)


def generation_finish(name: str) -> int:
    return call_pb2.FinishReason.Value(f"FINISH_REASON_{name}")
