"""Replies, also those that earlier versions left behind, as tests make and judge them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.gateway_client import FAIL, Refused

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

SETTLED = call_pb2.CALL_STATE_SETTLED
REPLIES = """
    SELECT count(*) FROM llm_call_replies
      JOIN llm_calls ON llm_calls.id = call_id WHERE run_id = $1::text::uuid
"""
KEPT = """
    SELECT count(*) FROM llm_replies
      JOIN llm_calls ON llm_calls.id = call_id WHERE run_id = $1::text::uuid
"""
FILES = "SELECT count(*) FROM artifacts WHERE run_id = $1::text::uuid"
LOCK = "SELECT FROM llm_calls WHERE run_id = $1::text::uuid FOR UPDATE"
WAITING = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
"""
SETTLEMENTS = """
    SELECT count(*) FROM (
               SELECT action, resource_id FROM audit_logs
                UNION ALL
               SELECT action, resource_id FROM audit_unchained) AS entry
     WHERE action = 'call.settle' AND starts_with(resource_id, $1)
"""
KEPT_TOKENS = 7


@asynccontextmanager
async def artifacts_away(stack: GatewayStack) -> AsyncGenerator[None]:
    await asyncio.to_thread(stack.artifacts.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(stack.artifacts.start)


@asynccontextmanager
async def before_the_migration(client: GatewayClient) -> AsyncGenerator[None]:
    """The tenant's database has no table for replies yet, so that they are files as before."""
    await client.database.execute("ALTER TABLE llm_call_replies RENAME TO replies_to_come")
    try:
        yield
    finally:
        await client.database.execute("ALTER TABLE replies_to_come RENAME TO llm_call_replies")


async def held(
    stack: GatewayStack, client: GatewayClient, count: int = 1, policy: int = FAIL
) -> tuple[list[asyncio.Task[object]], str]:
    """Ask under so many keys; return when the stub holds all, with the rule that holds them."""
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=count)
    specs = [client.spec(call=n, unknown_policy=policy) for n in range(1, count + 1)]
    asked: list[asyncio.Task[object]] = [
        asyncio.create_task(client.generate(spec)) for spec in specs
    ]
    await stack.stub.wait_until_held(rule, *asked, count=count)
    return asked, rule


async def killed_with_a_file(stack: GatewayStack, victim: GatewayClient) -> None:
    """Let a process die after it has stored a reply as a file, and before it has settled."""
    asked, rule = await held(stack, victim)
    async with before_the_migration(victim), victim.database.transaction():
        await victim.database.execute(LOCK, victim.run_id)  # so that settling must wait
        stack.stub.release(rule)
        await victim.files.wait_until_stored(*asked)
        victim.gateway.kill()
    await refused(asked)


async def killed_with_a_kept_reply(stack: GatewayStack, victim: GatewayClient) -> bytes:
    """Let a process die that had kept its reply, as earlier versions did; return the reply."""
    asked, _ = await held(stack, victim)
    victim.gateway.kill()
    await refused(asked)
    return await keep(victim)


async def keep(client: GatewayClient, attempt: int = 1) -> bytes:
    """Leave a kept reply to the client's call, as earlier versions did; return the reply."""
    counts = ("input", "cache_read", "cache_write", "output", "reasoning")
    usage = {f"{name}_tokens": KEPT_TOKENS * (name == "output") for name in counts}
    usage["input_tokens"] = KEPT_TOKENS
    content = {"content": "hi", "finish_reason": "stop", "usage": usage}
    body = json.dumps(content, separators=(",", ":")).encode()
    async with client.database.transaction():
        call_id = await client.database.fetchval(
            """
            INSERT INTO llm_replies (call_id, attempt, body, summary, metrics)
            SELECT id, $2, $3, '2 characters', '{}' FROM llm_calls WHERE run_id = $1::text::uuid
            RETURNING call_id
            """,
            client.run_id,
            attempt,
            body,
        )
        await client.database.execute(
            """
            UPDATE llm_call_attempts SET provider_request_id = 'kept', http_status = 200
             WHERE call_id = $1 AND attempt = $2
            """,
            call_id,
            attempt,
        )
    return body


async def refused(asked: list[asyncio.Task[object]]) -> list[Refused]:
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refusals) == len(outcomes)
    return refusals


async def check(client: GatewayClient, calls: list[call_pb2.Call], files: int = 0) -> None:
    """Every call was paid once, is settled, and has one reply and one settlement.

    So many replies are files; the others lie beside their calls.
    """
    sent = {each["idempotency"].rpartition("/")[0]: each for each in client.provider_calls()}
    assert len(client.provider_calls()) == len(sent) == len(calls)
    for call in calls:
        key = call.key
        (attempt,) = call.attempts
        paid = sent[f"{key.run_id}/{key.step}/{key.item}-{key.visit}/{key.call}"]
        assert (call.state, attempt.state, attempt.estimated) == (SETTLED, SETTLED, False)
        assert attempt.provider_request_id == paid["request_id"]
        assert call.usage.output_tokens == paid["output_tokens"]
        assert call.cost_micro_usd == attempt.cost_micro_usd > 0
        assert (await client.reply(call))["usage"]["output_tokens"] == paid["output_tokens"]
    assert await counts(client) == (len(calls) - files, files, len(calls), 0)


async def counts(client: GatewayClient) -> tuple[int, ...]:
    """Count the run's replies, files, settlements and kept replies."""
    queries = (REPLIES, FILES, SETTLEMENTS, KEPT)
    return tuple([await client.database.fetchval(sql, client.run_id) for sql in queries])


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
