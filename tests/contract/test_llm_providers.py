"""Every wire format of the gateway keeps one contract, and reads what the providers' own SDKs read.

The SDKs are given the gateway's very request, unstreamed; the stub answers equal requests equally.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.llm_sdks import (
    BASES,
    CHAT,
    CLAUDE,
    GEMINI,
    MODELS,
    PROVIDERS,
    RESPONSES,
    ask_sdk,
)

from llm_gateway.domain.models import Provider, WireFormat
from llm_gateway.domain.reply_ends import finish_reason
from llm_gateway.domain.requests import Prompt, Role, Turn
from llm_gateway.domain.schemas import OutputSchema
from llm_gateway.domain.usage import FinishReason, Usage
from llm_gateway.providers.base_urls import BaseUrls
from llm_gateway.providers.client import ADAPTERS, ProviderClients
from llm_gateway.providers.keys import ProviderKeys
from llm_gateway.providers.timeouts import ReadTimeouts
from llm_gateway.providers.wire_format import FailureKind, ProviderFault
from llmstub import Latency, LlmStub, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jsonvalues import JsonObject

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "points": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "points"],
    "additionalProperties": False,
}

pytestmark = [
    pytest.mark.parametrize("form", [CLAUDE, RESPONSES, CHAT, GEMINI]),
    # google-genai inherits from aiohttp's session, which aiohttp discourages
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
]


@dataclass(frozen=True)
class Received:
    """A reply as the gateway read it."""

    text: str
    usage: Usage
    finish: FinishReason
    request_id: str


@pytest.fixture
async def stub() -> AsyncIterator[LlmStub]:
    async with LlmStub(Settings(latency=Latency(0, 0, 0))) as stub:
        yield stub


@pytest.fixture
async def providers(tmp_path: Path) -> AsyncIterator[ProviderClients]:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(dict.fromkeys(PROVIDERS.values(), "k")))
    async with ProviderClients(
        BaseUrls(["127.0.0.1"]), ProviderKeys(keys), ReadTimeouts(5.0, 5.0), 60.0
    ) as providers:
        yield providers


def prompt(form: WireFormat, *, output_schema: OutputSchema | None = None) -> Prompt:
    return Prompt(
        model_name=MODELS[form],
        system="You write about cities.",
        turns=(
            Turn(Role.USER, "Who are you?"),
            Turn(Role.ASSISTANT, "A writer."),
            Turn(Role.USER, "Write about rain gardens in small cities."),
        ),
        max_output_tokens=3000,
        temperature=None,
        output_schema=output_schema,
        utf8_bytes=100,
    )


async def ask(
    providers: ProviderClients, stub: LlmStub, form: WireFormat, asked: Prompt | None = None
) -> Received:
    """Ask through the gateway's adapter. Raises ProviderFault."""
    url = stub.url + BASES[form]
    client = providers.client(Provider(PROVIDERS[form], "", url, active=True, wire_format=form))
    request = client.request(asked or prompt(form), "call/1")
    text = "".join([piece async for piece in request.texts()])
    finish = finish_reason(request.end(text).verdict)
    return Received(text, request.usage.usage, finish, request.request_id)


async def test_a_reply_is_what_the_sdk_reads(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    received = await ask(providers, stub, form)
    text, usage = await ask_sdk(stub, form, ADAPTERS[form].request(prompt(form)).body)

    assert received.text == text
    assert received.usage == usage
    assert received.finish is FinishReason.STOP
    ours, theirs = stub.calls()
    assert ours.begin.stream
    assert not theirs.begin.stream
    assert received.request_id == ours.begin.request_id


async def test_reasoning_and_cached_tokens_are_what_the_sdk_reads(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    action = {"text": "Said.", "reasoning_tokens": 70, "cached_tokens": 9}
    if form is not GEMINI:
        action["cache_write_tokens"] = 5
    stub.script([{"action": {"kind": "reply", **action}}])

    received = await ask(providers, stub, form)
    text, usage = await ask_sdk(stub, form, ADAPTERS[form].request(prompt(form)).body)

    assert (received.text, received.usage) == (text, usage)
    assert (usage.reasoning_tokens, usage.cache_read_tokens) == (70, 9)
    end = stub.calls()[0].end
    assert end is not None
    assert received.usage == Usage(
        end.input_tokens,
        end.cached_tokens,
        end.cache_write_tokens,
        end.output_tokens,
        end.reasoning_tokens,
    )


async def test_a_schema_is_sent_so_that_the_reply_fits_it(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    schema = OutputSchema.parse(SCHEMA)
    asked = prompt(form, output_schema=schema)

    received = await ask(providers, stub, form, asked)
    text, _ = await ask_sdk(stub, form, ADAPTERS[form].request(asked).body)

    schema.check(json.loads(received.text))
    assert received.text == text


async def test_an_open_schema_is_not_sent_as_a_strict_one(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    schema = OutputSchema.parse({"type": "object", "properties": {"n": {"type": "integer"}}})

    received = await ask(providers, stub, form, prompt(form, output_schema=schema))

    schema.check(json.loads(received.text))


@pytest.mark.parametrize(
    ("finish", "expected"),
    [("length", FinishReason.LENGTH), ("filtered", FinishReason.REFUSAL)],
)
async def test_the_end_of_a_reply_has_its_reason(
    form: WireFormat, stub: LlmStub, providers: ProviderClients, finish: str, expected: FinishReason
) -> None:
    stub.script([{"action": {"kind": "reply", "text": "Cut", "finish": finish}}])

    assert (await ask(providers, stub, form)).finish is expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"kind": "overloaded"}, FailureKind.UNAVAILABLE),
        ({"kind": "spend_limit"}, FailureKind.EXHAUSTED),
        ({"kind": "status", "status": 429}, FailureKind.LIMITED),
        ({"kind": "status", "status": 400}, FailureKind.REFUSED),
        ({"kind": "error_event"}, FailureKind.UNAVAILABLE),
        ({"kind": "error_event", "status": 429}, FailureKind.LIMITED),
        ({"kind": "failed"}, FailureKind.UNAVAILABLE),
        ({"kind": "drop"}, FailureKind.LOST),
        ({"kind": "drop", "after_bytes": 400}, FailureKind.LOST),
        ({"kind": "truncated_json"}, FailureKind.MALFORMED),
    ],
)
async def test_a_fault_is_distinguished(
    form: WireFormat,
    stub: LlmStub,
    providers: ProviderClients,
    action: dict[str, Any],
    expected: FailureKind,
) -> None:
    stub.script([{"action": action}])

    with pytest.raises(ProviderFault) as fault:
        await ask(providers, stub, form)

    assert fault.value.kind is expected
    assert len(stub.calls()) == 1


async def test_retry_after_is_read_where_the_provider_says_it(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    action = {"kind": "status", "status": 429, "headers": {"retry-after": "7"}}
    stub.script([{"action": action}])

    with pytest.raises(ProviderFault) as fault:
        await ask(providers, stub, form)

    assert fault.value.retry_after == 7


async def test_an_unknown_event_is_passed_over(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    plain = await ask(providers, stub, form)
    stub.script([{"action": {"kind": "unknown_event"}}])

    assert (await ask(providers, stub, form)).text == plain.text


async def test_nobody_there_is_known_to_have_cost_nothing(
    form: WireFormat, stub: LlmStub, providers: ProviderClients
) -> None:
    stub.url = "http://127.0.0.1:1"

    with pytest.raises(ProviderFault) as fault:
        await ask(providers, stub, form)

    assert fault.value.kind is FailureKind.NEVER_SENT
