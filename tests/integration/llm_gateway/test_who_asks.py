"""Who asks under which key: runs under those of steps, people under step `input`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import Refused, by_id

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.integration.llm_gateway.asking import Asking
    from tests.integration.llm_gateway.house import House

    from nagaya.llm_gateway.v1 import generation_pb2

SETTLED = call_pb2.CALL_STATE_SETTLED
MODEL = by_id("claude-sonnet-5-5")
ROWS = "SELECT count(*) FROM llm_calls WHERE run_id = $1::text::uuid"


@pytest.fixture
async def person(asking: Asking) -> Asking:
    return await asking.as_person("generations.write calls.read")


async def refusals(person: Asking, spec: generation_pb2.GenerationSpec) -> list[Refused]:
    """Ask in both ways, and be refused."""
    with pytest.raises(Refused) as of_generate:
        await person.ask(spec)
    with pytest.raises(Refused) as of_stream:
        async for _ in person.stream(spec):
            pass
    return [of_generate.value, of_stream.value]


def assert_reserved(refused: list[Refused]) -> None:
    assert {each.reason for each in refused} == {"KEY_RESERVED"}
    assert {each.code.name for each in refused} == {"PERMISSION_DENIED"}
    assert {each.metadata["step"] for each in refused} == {"draft"}
    assert "People ask under step `input`" in str(refused[0])


async def test_a_person_cannot_take_the_key_of_a_step(asking: Asking, person: Asking) -> None:
    for call in (1, 2, 1000):
        assert_reserved(await refusals(person, person.spec("Mine.", call=call)))
    assert await asking.database.fetchval(ROWS, asking.run_id) == 0
    assert asking.sent() == []

    done = await asking.ask()

    assert (done.call.state, done.replayed) == (SETTLED, False)
    assert len(asking.sent()) == 1


async def test_a_person_is_told_nothing_of_what_a_step_has_asked(
    house: House, asking: Asking, person: Asking
) -> None:
    rule = house.stub.script(asking.word, {"kind": "hold"})
    asked = asyncio.create_task(asking.ask())
    await asyncio.to_thread(house.stub.wait_until_held, rule)

    in_flight = await refusals(person, asking.spec())
    house.stub.release(rule)
    await asked
    settled = await refusals(person, asking.spec())

    assert_reserved(in_flight + settled)
    assert len(asking.sent()) == 1


async def test_a_persons_own_call_is_no_steps(asking: Asking, person: Asking) -> None:
    spec = person.spec("Mine.", step="input", model=MODEL)

    mine = await person.ask(spec)
    again = await person.ask(spec)
    theirs = await asking.ask()

    assert (mine.call.state, mine.call.user_id) == (SETTLED, "ada")
    assert again.replayed
    assert again.call == mine.call
    assert f"/{asking.run_id}/input/artifacts/" in mine.call.output_path
    assert (theirs.replayed, theirs.call.output_path != mine.call.output_path) == (False, True)
    assert len(asking.sent()) == 2


async def test_a_person_who_names_no_model_is_told_to(asking: Asking, person: Asking) -> None:
    with pytest.raises(Refused) as refused:
        await person.ask(person.spec(step="input"))

    assert refused.value.reason == "MODEL_UNRESOLVED"
    assert asking.sent() == []
