"""What calls use and cost, recounted from the stub's own log and the price table."""

from __future__ import annotations

import math
import random
import secrets
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway_client import by_id

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import generation_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

    from nagaya.llm_gateway.v1 import call_pb2

MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "gpt-6.2-astra",
    "gpt-6.2-sol",
    "gemini-4-argon",
    "gemini-3.8-flash",
)
PRICE = """
    SELECT * FROM llm_prices
     WHERE model_id = $1 AND effective_at <= now() AND min_input_tokens <= $2
     ORDER BY min_input_tokens DESC, effective_at DESC LIMIT 1
"""


async def recounted(stack: GatewayStack, model_id: str, sent: dict[str, Any]) -> tuple[str, int]:
    """Return the price row and the cost of a call, from the stub's log and the table alone."""
    length = sent["input_tokens"] + sent["cached_tokens"] + sent["cache_write_tokens"]
    connection = await stack.database(stack.management_name)
    row = await connection.fetchrow(PRICE, model_id, length)
    await connection.close()
    assert row is not None
    total = (
        Fraction(sent["input_tokens"] * row["input_micro_usd"], 10**6)
        + Fraction(sent["cached_tokens"] * row["cache_read_micro_usd"], 10**6)
        + Fraction(sent["cache_write_tokens"] * row["cache_write_micro_usd"], 10**6)
        + Fraction(
            (sent["output_tokens"] + sent["reasoning_tokens"]) * row["output_micro_usd"], 10**6
        )
    )
    return row["id"], math.ceil(total)


def used(sent: dict[str, Any]) -> tuple[int, ...]:
    return (
        sent["input_tokens"],
        sent["cached_tokens"],
        sent["cache_write_tokens"],
        sent["output_tokens"],
        sent["reasoning_tokens"],
    )


def reported(usage: call_pb2.Usage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


@pytest.mark.parametrize("model_id", MODELS)
async def test_usage_and_cost_are_what_the_stub_charged(
    stack: GatewayStack, client: GatewayClient, model_id: str
) -> None:
    seed = secrets.randbits(30)
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    for number in range(1, 5):
        action = {
            "kind": "reply",
            "reasoning_tokens": chance.randrange(0, 500),
            "cached_tokens": chance.randrange(0, 2000),
        }
        if not model_id.startswith("gemini"):  # which does not tell what it wrote to its cache
            action["cache_write_tokens"] = chance.randrange(0, 2000)
        stack.stub.script(client.word, action, times=1)
        text = "cranes " * chance.randrange(1, 3000)
        call = (await client.generate(client.spec(text, call=number, model=by_id(model_id)))).call

        sent = client.provider_calls()[-1]
        price_id, cost = await recounted(stack, model_id, sent)
        assert reported(call.usage) == used(sent), f"seed {seed}"
        assert reported(call.attempts[0].usage) == used(sent), f"seed {seed}"
        assert (call.resolution.price_id, call.cost_micro_usd) == (price_id, cost), f"seed {seed}"
        assert (await client.reply(call))["usage"]["output_tokens"] == sent["output_tokens"]


async def test_a_long_prompt_has_the_price_of_long_prompts(
    stack: GatewayStack, client: GatewayClient
) -> None:
    large = await client.files.upload(b'"' + b"x" * (4 * 272_001) + b'"')
    pointer = artifact_pb2.ArtifactPointer(path=large.path, digest=large.digest)
    part = generation_pb2.Part(pointer=pointer)
    word = generation_pb2.Part(text=client.word)
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[word, part])

    done = await client.generate(client.spec(messages=[message], model=by_id("gpt-6.2-sol")))

    (sent,) = client.provider_calls()
    price_id, cost = await recounted(stack, "gpt-6.2-sol", sent)
    assert price_id.endswith("+272001")
    assert (done.call.resolution.price_id, done.call.cost_micro_usd) == (price_id, cost)


async def test_all_that_a_run_cost_is_all_that_the_stub_charged(
    stack: GatewayStack, client: GatewayClient
) -> None:
    for number in range(1, 13):
        model_id = MODELS[number % 6]
        if number % 3 == 0:
            stack.stub.script(client.word, {"kind": "status", "status": 503}, times=1)
        await client.generate(client.spec(f"Take {number}.", call=number, model=by_id(model_id)))

    charged = [
        (await recounted(stack, sent["model"], sent))[1]
        for sent in client.provider_calls()
        if sent["outcome"] == "ok"
    ]
    calls = [await client.get_call(number) for number in range(1, 13)]
    assert len(client.provider_calls()) == sum(len(call.attempts) for call in calls) == 16
    assert sum(call.cost_micro_usd for call in calls) == sum(charged)
