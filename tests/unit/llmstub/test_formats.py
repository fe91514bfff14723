"""What holds in every wire format."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from anthropic.lib._parse._transform import transform_schema
from tests.unit.llmstub.provider_client import (
    FORMATS,
    PROMPT,
    ProviderClient,
    finish_of,
    request,
    text_of,
    usage_of,
)

from llmstub import tokens

if TYPE_CHECKING:
    from llmstub import LlmStub

ENDS = {"claude": "end_turn", "responses": "completed", "chat": "stop", "gemini": "STOP"}
CUTS = {
    "claude": "max_tokens",
    "responses": "max_output_tokens",
    "chat": "length",
    "gemini": "MAX_TOKENS",
}
OUTLINE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "sections": {
            "type": "array",
            "minItems": 2,
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {
                    "heading": {"type": "string"},
                    "points": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["heading", "points"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["title", "sections"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_stream_says_and_costs_what_the_whole_reply_does(
    client: ProviderClient, form: str
) -> None:
    whole = await client.generate(form)
    streamed = await client.generate(form, stream=True)

    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert text_of(form, streamed) == text_of(form, whole)
    assert "rain gardens" in text_of(form, whole).lower()
    assert usage_of(form, streamed) == usage_of(form, whole)
    assert finish_of(form, streamed) == finish_of(form, whole) == ENDS[form]


@pytest.mark.parametrize("form", FORMATS)
async def test_tokens_can_be_recounted(client: ProviderClient, form: str) -> None:
    response = await client.generate(form)

    used = usage_of(form, response)
    assert used["input"] == tokens.count(PROMPT)
    assert used["output"] - used["reasoning"] == tokens.count(text_of(form, response))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMATS)
async def test_the_limit_cuts_the_reply_and_says_so(
    client: ProviderClient, form: str, *, stream: bool
) -> None:
    response = await client.generate(form, limit=40, stream=stream)

    assert usage_of(form, response)["output"] <= 40
    assert text_of(form, response)
    assert finish_of(form, response) == CUTS[form]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMATS)
async def test_a_requested_schema_is_respected(
    client: ProviderClient, form: str, *, stream: bool
) -> None:
    schema = OUTLINE if form != "claude" else transform_schema(copy.deepcopy(OUTLINE))
    response = await client.generate(
        form, "Outline an article about rain gardens.", schema=schema, stream=stream
    )

    outline = json.loads(text_of(form, response))
    jsonschema.validate(outline, OUTLINE)
    assert len(outline["sections"]) == 3
    assert "rain gardens" in outline["title"].lower()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ["responses", "chat", "gemini"])
async def test_an_empty_schema_gets_a_json_object(
    client: ProviderClient, form: str, *, stream: bool
) -> None:
    response = await client.generate(form, schema={}, stream=stream)

    assert isinstance(json.loads(text_of(form, response)), dict)


@pytest.mark.parametrize("form", ["responses", "chat", "gemini"])
async def test_an_empty_schema_leaves_the_one_in_the_prompt(
    client: ProviderClient, form: str
) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    prompt = f"Judge it. It must fit this JSON Schema:\n{json.dumps(schema)}"
    response = await client.generate(form, prompt, schema={})

    jsonschema.validate(json.loads(text_of(form, response)), schema)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_japanese_prompt_gets_a_japanese_reply(client: ProviderClient, form: str) -> None:
    response = await client.generate(
        form, "図書館の夜間開館について短い記事を書いてください。", stream=True
    )

    text = text_of(form, response)
    assert "図書館の夜間開館" in text
    assert sum("\u3040" <= letter <= "\u9fff" for letter in text) > len(text) / 2


@pytest.mark.parametrize("form", FORMATS)
async def test_a_call_without_a_key_is_refused_in_the_providers_words(
    client: ProviderClient, form: str, stub: LlmStub
) -> None:
    path, provider, body = request(form)
    response = await client.post(path, "none", body, {"anthropic-version": "2026-10-21"})

    assert response.status == (403 if provider == "gemini" else 401)
    assert "error" in response.body
    assert [call.outcome for call in stub.calls()] == ["refused"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("prefix", ["claude", "openai", "gemini"])
async def test_a_prefix_names_the_provider_and_refuses_the_others(
    client: ProviderClient, form: str, prefix: str
) -> None:
    path, provider, body = request(form)
    response = await client.post(f"/{prefix}{path}", provider, body)

    assert response.status == (200 if provider == prefix else 404)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "m", "messages": 1, "contents": 1}'])
async def test_a_malformed_body_is_refused(client: ProviderClient, form: str, body: bytes) -> None:
    path, provider, _ = request(form)
    response = await client.post(path, provider, body)

    assert response.status == 400
    assert "error" in response.body


@pytest.mark.parametrize("form", ["claude", "chat", "gemini"])
async def test_a_stop_sequence_ends_the_reply_before_it(client: ProviderClient, form: str) -> None:
    stops: dict[str, Any] = {
        "claude": {"stop_sequences": ["storm water"]},
        "chat": {"stop": "storm water", "model": "gpt-4.1"},
        "gemini": {"generationConfig": {"stopSequences": ["storm water"]}},
    }
    asked = {"model": stops[form]["model"]} if "model" in stops[form] else {}
    whole = text_of(form, await client.generate(form, more=asked))
    stopped = await client.generate(form, more=stops[form])

    assert "storm water" in whole
    assert "storm water" not in text_of(form, stopped)
    assert finish_of(form, stopped) in ("stop_sequence", "stop", "STOP")


@pytest.mark.parametrize("form", FORMATS)
async def test_every_call_has_an_id_of_its_own(
    client: ProviderClient, form: str, stub: LlmStub
) -> None:
    first, second = await client.generate(form), await client.generate(form)

    assert text_of(form, first) == text_of(form, second)
    names = ("request-id", "x-request-id", "x-goog-request-id")
    ids = [next(a.headers[n] for n in names if n in a.headers) for a in (first, second)]
    assert [call.begin.request_id for call in stub.calls()] == ids
    assert ids[0] != ids[1]
