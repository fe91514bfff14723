"""Who asks under which key: runs under those of steps, people under step `input`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway_client import Refused, by_id

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

    from nagaya.llm_gateway.v1 import generation_pb2

SETTLED = call_pb2.CALL_STATE_SETTLED
MODEL = by_id("claude-sonnet-5-5")
ROWS = "SELECT count(*) FROM llm_calls WHERE run_id = $1::text::uuid"


@pytest.fixture
async def person(client: GatewayClient) -> GatewayClient:
    return await client.as_person("generations.write calls.read")


async def refusals(person: GatewayClient, spec: generation_pb2.GenerationSpec) -> list[Refused]:
    """Ask in both ways, and be refused."""
    with pytest.raises(Refused) as of_generate:
        await person.generate(spec)
    with pytest.raises(Refused) as of_stream:
        async for _ in person.stream(spec):
            pass
    return [of_generate.value, of_stream.value]


def assert_reserved(refused: list[Refused]) -> None:
    assert {each.reason for each in refused} == {"KEY_RESERVED"}
    assert {each.code.name for each in refused} == {"PERMISSION_DENIED"}
    assert {each.metadata["step"] for each in refused} == {"draft"}
    assert "People ask under step `input`" in str(refused[0])


async def test_a_person_cannot_take_the_key_of_a_step(
    client: GatewayClient, person: GatewayClient
) -> None:
    for call in (1, 2, 1000):
        assert_reserved(await refusals(person, person.spec("Mine.", call=call)))
    assert await client.database.fetchval(ROWS, client.run_id) == 0
    assert client.provider_calls() == []

    done = await client.generate()

    assert (done.call.state, done.replayed) == (SETTLED, False)
    assert len(client.provider_calls()) == 1


async def test_a_person_learns_nothing_of_what_a_step_has_asked(
    stack: GatewayStack, client: GatewayClient, person: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"})
    asked = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, asked)

    in_flight = await refusals(person, client.spec())
    stack.stub.release(rule)
    await asked
    settled = await refusals(person, client.spec())

    assert_reserved(in_flight + settled)
    assert len(client.provider_calls()) == 1


async def test_a_persons_own_call_is_no_steps(client: GatewayClient, person: GatewayClient) -> None:
    spec = person.spec("Mine.", step="input", model=MODEL)

    mine = await person.generate(spec)
    again = await person.generate(spec)
    theirs = await client.generate()

    assert (mine.call.state, mine.call.user_id) == (SETTLED, "ada")
    assert again.replayed
    assert again.call == mine.call
    assert (mine.call.key.step, theirs.call.key.step) == ("input", "draft")
    assert (theirs.replayed, theirs.call.output_digest != mine.call.output_digest) == (False, True)
    assert len(client.provider_calls()) == 2


async def test_a_person_who_names_no_model_is_asked_for_one(
    client: GatewayClient, person: GatewayClient
) -> None:
    with pytest.raises(Refused) as refused:
        await person.generate(person.spec(step="input"))

    assert refused.value.reason == "MODEL_UNRESOLVED"
    assert client.provider_calls() == []
