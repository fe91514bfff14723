"""What a provider says becomes of a step: never a completed one by half a reply or by none, and
nothing that was paid for is paid for twice.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.scripted import set_scripted_provider
from tests.support.catalog import SCRIPTED
from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)
from tests.support.scripted_provider import Reply, ScriptedProvider

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@dataclass(frozen=True)
class Case:
    """A reply, and what becomes of the step that asked for it three times at most."""

    form: str
    reply: Reply
    reason: str = ""
    """Why the step fails; empty where it is completed with `output`."""
    output: Any = None
    llm: tuple[tuple[str, Any], ...] = ()


def chat(*pieces: str) -> Reply:
    return Reply((*pieces, CHAT.used(), CHAT.done()))


SPENT = {
    "type": "error",
    "error": {
        "type": "rate_limit_error",
        "message": "m",
        "details": {"error_code": "contract_spend_limit_reached"},
    },
}
FILTERED = {"error": {"message": "filtered", "code": "content_filter", "status": 400}}
SCHEMA = ("outputSchema", {"type": "object", "required": ["title"]})
PARTS = {"content": [{"type": "text", "text": "hi there"}]}
OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "hi there"}]}]
CASES = {
    "a pause": Case("claude", Reply(CLAUDE.whole("half a", "pause_turn")), "REPLY_INCOMPLETE"),
    "a tool": Case("claude", Reply(CLAUDE.whole("half a", "tool_use")), "REPLY_INCOMPLETE"),
    "a new word": Case("gemini", Reply(GEMINI.whole("half a", "A_NEW_WORD")), "REPLY_INCOMPLETE"),
    "no parts": Case("gemini", Reply((GEMINI.ended(),)), "REPLY_EMPTY"),
    "a blank text": Case("responses", Reply(RESPONSES.whole(" \n")), "REPLY_EMPTY"),
    "a blank text that may be": Case(
        "responses", Reply(RESPONSES.whole(" \n")), output=" \n", llm=(("allowEmpty", True),)),
    "a limit": Case("chat", Reply(CHAT.whole("half a", "length")), "REPLY_CUT"),
    "a filter": Case("chat", Reply(CHAT.whole("half a", "content_filter")), "REPLY_REFUSED"),
    "a filter before the model": Case(
        "chat", Reply.of_json(FILTERED, "400 Bad Request"), "REPLY_REFUSED"),
    "a spend limit": Case(
        "claude", Reply.of_json(SPENT, "429 Too Many Requests"), "PROVIDER_LIMITED"),
    "content in parts": Case(
        "chat", chat(CHAT.chunk(PARTS), CHAT.ended("stop")), output="hi there"),
    "text only at the end": Case(
        "responses", Reply((RESPONSES.ended(output=OUTPUT),)), output="hi there"),
    "JSON in place of a stream": Case(
        "chat", Reply.of_json(CHAT.unstreamed("hi there")), output="hi there"),
    "no usage": Case("chat", Reply((CHAT.delta("hi there"), CHAT.ended("stop"), CHAT.done())),
                     output="hi there"),
    "markdown": Case("chat", chat(CHAT.delta('```json\n{"title": "x"}\n```'), CHAT.ended("stop")),
                    output={"title": "x"}, llm=(SCHEMA,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def scripted(stack: LocalStack) -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as provider:
        asyncio.run(_set(stack, provider))
        yield provider


async def _set(stack: LocalStack, provider: ScriptedProvider) -> None:
    async with stack.client() as client:
        await set_scripted_provider(stack, client, provider)


@pytest.mark.parametrize("name", CASES)
async def test_a_step_becomes_what_its_reply_is_and_pays_for_it_once(
    stack: LocalStack, client: Client, scripted: ScriptedProvider, name: str
) -> None:
    case, marker = CASES[name], f"marker-{secrets.token_hex(8)}"
    scripted.script(marker, case.reply)
    tenant_id = await create_tenant(client, "replies")
    await create_prompt(client, tenant_id, "ask", f"{marker} {{{{topic}}}}")
    bind = {"variable": "topic", "output": {"step": "input"}}
    llm = {"bindings": [bind], "model": {"modelId": SCRIPTED[case.form]}}
    ask = {"step": "ask", "needs": ["input"], "llm": llm | dict(case.llm)}
    ask["retry"] = {"maxAttempts": 3, "backoff": "0.01s"}
    after = {"step": "after", "needs": ["ask"], "function": {"function": "collect"}}
    await create_pipeline(client, tenant_id, "test", {"steps": [ask, after]})
    run_id = await create_run(client, tenant_id, "test", "cranes")
    run = await finish(client, tenant_id, run_id)

    assert len(scripted.requests(marker)) == 1
    steps = {step.step: step for step in await list_steps(client, tenant_id, run_id)}
    if case.reason:
        assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, case.reason)
        assert not steps["ask"].output.output_path
        return
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    output = json.loads(stack.file(steps["ask"].output.output_path).read_text())
    assert output == case.output
