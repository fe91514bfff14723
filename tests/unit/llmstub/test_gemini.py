from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from tests.unit.llmstub.calling import Caller, request, text_of, usage_of

OPENAPI: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {
        "title": {"type": "STRING"},
        "mood": {"type": "STRING", "enum": ["CALM", "MERRY"]},
        "steps": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "2", "maxItems": "2"},
        "source": {"type": "STRING", "nullable": True},
    },
    "required": ["title", "mood", "steps"],
    "propertyOrdering": ["mood", "title", "steps", "source"],
}


async def test_the_last_usage_of_a_stream_is_the_whole_and_thoughts_stand_apart(
    caller: Caller,
) -> None:
    config = {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}}
    answered = await caller.ask("gemini", stream=True, more={"generationConfig": config})

    counts = [event["usageMetadata"]["candidatesTokenCount"] for event in answered.events]
    assert counts == sorted(counts)
    last = answered.events[-1]["usageMetadata"]
    assert last["thoughtsTokenCount"] == 64
    assert last["totalTokenCount"] == last["promptTokenCount"] + counts[-1] + 64
    assert answered.events[0]["candidates"][0]["content"]["parts"][0]["thought"] is True
    assert b"\r\n\r\n" in answered.raw


async def test_models_think_without_being_asked(caller: Caller) -> None:
    assert usage_of("gemini", await caller.ask("gemini"))["reasoning"] == 32


async def test_both_versions_of_the_api_answer(caller: Caller) -> None:
    path, provider, body = request("gemini")
    answered = await caller.post(path.replace("v1beta", "v1"), provider, body)

    assert text_of("gemini", answered) == text_of("gemini", await caller.ask("gemini"))


async def test_an_openapi_schema_is_respected_in_its_order(caller: Caller) -> None:
    config = {"responseMimeType": "application/json", "responseSchema": OPENAPI}
    answered = await caller.ask("gemini", more={"generationConfig": config})

    instance = json.loads(text_of("gemini", answered))
    assert list(instance) == OPENAPI["propertyOrdering"]
    assert instance["mood"] in ("CALM", "MERRY")
    assert len(instance["steps"]) == 2


async def test_json_without_a_schema_is_an_object(caller: Caller) -> None:
    config = {"responseMimeType": "application/json"}
    answered = await caller.ask("gemini", more={"generationConfig": config})

    jsonschema.validate(json.loads(text_of("gemini", answered)), {"type": "object"})


async def test_tokens_are_counted(caller: Caller) -> None:
    path, provider, body = request("gemini")
    counted = await caller.post(
        path.replace("generateContent", "countTokens"), provider, {"contents": body["contents"]}
    )

    assert counted.body["totalTokens"] == usage_of("gemini", await caller.ask("gemini"))["input"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1beta/models/m:generateContent", {"contents": []}, 400),
        ("/v1beta/models/m:streamGenerateContent", {"contents": [{"parts": []}]}, 400),
        (
            "/v1beta/models/m:generateContent",
            {
                "contents": [{"parts": []}],
                "generationConfig": {"responseSchema": {"type": "STRING"}},
            },
            400,
        ),
        ("/gemini/v1beta/models/m:fly", {}, 404),
    ],
)
async def test_what_gemini_refuses_is_refused(
    caller: Caller, path: str, body: dict[str, Any], status: int
) -> None:
    answered = await caller.post(path, "gemini", body)

    assert answered.status == status == answered.body["error"]["code"]
    assert answered.body["error"]["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
