"""The reply to a settled call: with its call, and through GetReply."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.integration.llm_gateway.stored_replies import (
    LOCK,
    WAITING,
    artifacts_away,
    check,
    counts,
    held,
    refused,
)
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import REDO, GatewayClient, Refused, by_id
from tests.support.processes import running
from tests.support.provider_streams import CHAT
from tests.support.scripted_provider import Reply
from tests.support.waiting import fewer_run, wait_until

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.gateway_stack import GatewayStack
    from tests.support.scripted_provider import ScriptedProvider

SETTLED, UNKNOWN = call_pb2.CALL_STATE_SETTLED, call_pb2.CALL_STATE_UNKNOWN
MEBIBYTE = 1 << 20
END_WAITING = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_reply_comes_with_its_call_when_it_is_asked_for(client: GatewayClient) -> None:
    first = await client.generate(include_reply=True)
    again = await client.generate(include_reply=True)
    without = await client.generate()

    assert first.call == again.call == without.call
    assert (first.replayed, again.replayed, without.replayed) == (False, True, True)
    assert hashlib.sha256(first.reply).hexdigest() == first.call.output_digest
    assert first.reply == again.reply == await client.reply_bytes(first.call.key)
    assert not without.reply
    assert json.loads(first.reply)["usage"]["output_tokens"] == first.call.usage.output_tokens
    assert len(client.provider_calls()) == 1


async def test_whoever_joins_a_call_gets_its_reply_if_they_ask_for_it(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=1)
    asked = [asyncio.create_task(client.generate(include_reply=n > 0)) for n in range(3)]
    await stack.stub.wait_until_held(rule, *asked)
    stack.stub.release(rule)

    without, *others = await asyncio.gather(*asked)

    assert not without.reply
    assert [each.reply for each in others] == [await client.reply_bytes(without.call.key)] * 2
    assert len(client.provider_calls()) == 1


async def test_a_call_without_a_reply_says_so(stack: GatewayStack, client: GatewayClient) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=1)
    asked = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, asked)

    with pytest.raises(Refused) as early:
        await client.reply_bytes(client.key())
    with pytest.raises(Refused) as absent:
        await client.reply_bytes(client.key(2))
    stack.stub.release(rule)
    await asked

    assert (early.value.code, early.value.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CALL_NOT_SETTLED",
    )
    assert early.value.metadata == {"state": "dispatched"}
    assert absent.value.reason == "CALL_NOT_FOUND"


async def test_a_person_reads_replies_by_the_permission_to_read_files(
    client: GatewayClient,
) -> None:
    done = await client.generate(include_reply=True)
    reader = await client.as_person("artifacts.read")
    clerk = await client.as_person("calls.read")

    body = await reader.reply_bytes(done.call.key)
    with pytest.raises(Refused) as refused:
        await clerk.reply_bytes(done.call.key)

    assert body == done.reply
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "length", [0, 1, 47_000, MEBIBYTE, 5 * MEBIBYTE], ids=["0", "1", "47 KB", "1 MiB", "5 MiB"]
)
async def test_a_reply_of_any_length_is_kept_to_the_letter(
    scripted: ScriptedProvider, client: GatewayClient, length: int
) -> None:
    text = ("Kraniche, 鶴. " * (length // 10 + 1))[:length]
    scripted.script(client.word, Reply(CHAT.whole(text)))
    spec = client.spec(model=by_id(SCRIPTED["chat"]), allow_empty=True)

    done = await client.generate(spec, include_reply=True)
    again = await client.generate(spec, include_reply=True)
    streamed = [event.delta.text async for event in client.stream(spec)]

    body = await client.reply_bytes(done.call.key)
    assert json.loads(body)["content"] == "".join(streamed) == text
    assert done.reply == again.reply == (body if len(body) <= 3 * MEBIBYTE else b"")
    assert (again.call, again.call.state) == (done.call, SETTLED)
    assert await counts(client) == (1, 0, 1, 0)
    assert len(scripted.requests(client.word)) == 1


async def test_a_reply_needs_no_artifacts_service(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    async with artifacts_away(stack):
        done = await victim.generate(include_reply=True)
        victim.gateway.kill()
        again = await client.generate(include_reply=True)

    assert (again.replayed, again.reply, again.call) == (True, done.reply, done.call)
    await check(client, [done.call])


async def test_a_reply_whose_settling_never_committed_is_unknown_and_may_be_redone(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await held(stack, victim, policy=REDO)
    async with client.database.transaction():  # so that settling must wait
        await client.database.execute(LOCK, client.run_id)
        stack.stub.release(rule)
        await wait_until(lambda: client.database.fetchval(WAITING), unless=fewer_run(tuple(asked)))
        victim.gateway.kill()
        await client.database.execute(END_WAITING)
    await refused(asked)

    reason = (await client.generate_refused(client.spec())).reason
    redone = await client.generate(client.spec(unknown_policy=REDO))

    assert reason == "CALL_OUTCOME_UNKNOWN"
    assert [attempt.state for attempt in redone.call.attempts] == [UNKNOWN, SETTLED]
    assert await counts(client) == (1, 0, 1, 0)
    assert len(client.provider_calls()) == 2


async def test_a_call_whose_row_is_locked_delays_no_other(
    stack: GatewayStack, client: GatewayClient
) -> None:
    asked, rule = await held(stack, client, 8)
    async with client.database.transaction():
        await client.database.execute(
            f"{LOCK.removesuffix('FOR UPDATE')} AND call = 1 FOR UPDATE", client.run_id
        )
        stack.stub.release(rule)
        await asyncio.gather(*asked[1:])
        waits = not asked[0].done()
    await asked[0]

    assert waits
    await check(client, [await client.get_call(n) for n in range(1, 9)])


async def test_two_processes_asked_for_the_same_keys_send_each_once(
    stack: GatewayStack, client: GatewayClient
) -> None:
    numbers = range(1, 41)
    with running(stack.gateway("second")) as gateway:
        second = await client.via(gateway)
        answers = await asyncio.gather(
            *(each.generate(each.spec(call=n)) for n in numbers for each in (client, second))
        )

    calls = {answer.call.key.call: answer.call for answer in answers}
    assert sum(not answer.replayed for answer in answers) == len(numbers)
    await check(client, list(calls.values()))


async def test_a_call_that_cannot_be_recorded_fails_none_of_those_recorded_with_it(
    client: GatewayClient,
) -> None:
    specs = [client.spec(call=n) for n in range(1, 33)]
    lost = client.spec(call=33)
    lost.key.run_id = str(uuid.uuid4())
    asked = [client.generate(spec) for spec in specs]
    asked.insert(7, client.generate(lost))

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    refusal = outcomes.pop(7)
    assert isinstance(refusal, Refused)
    assert refusal.reason == "RUN_NOT_FOUND"
    calls = [answer.call for answer in outcomes if not isinstance(answer, BaseException)]
    assert len(calls) == len(specs)
    await check(client, calls)


async def test_a_reply_is_deleted_when_its_retention_is_over(
    stack: GatewayStack, client: GatewayClient, management: asyncpg.Connection
) -> None:
    first, second = [await client.generate(client.spec(call=n)) for n in (1, 2)]
    await client.database.execute(
        """
        UPDATE llm_call_replies SET settled_at = now() - interval '31 days'
         WHERE call_id = (SELECT id FROM llm_calls WHERE run_id = $1::text::uuid AND call = 1)
        """,
        client.run_id,
    )
    with running(stack.gateway("forgetful", NAGAYA_REPLY_RETENTION_DAYS="30")) as gateway:
        forgetful = await client.via(gateway)

        async def deleted() -> bool:
            await management.execute("UPDATE llm_gateway_pending_work SET due_at = now()")
            return (await counts(client))[0] == 1

        await wait_until(deleted, unless=gateway.ended, seconds=60)
        with pytest.raises(Refused) as gone:
            await forgetful.reply_bytes(first.call.key)
        again = await forgetful.generate(client.spec(call=1), include_reply=True)

    assert (gone.value.code, gone.value.reason) == (grpc.StatusCode.NOT_FOUND, "REPLY_EXPIRED")
    assert gone.value.metadata == {"output_digest": first.call.output_digest}
    assert (again.replayed, again.call, again.reply) == (True, first.call, b"")
    assert await client.reply(second.call)
    assert len(client.provider_calls()) == 2
