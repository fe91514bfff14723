from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from tests.unit.llmstub.provider_client import ProviderClient, request, text_of, usage_of

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
    client: ProviderClient,
) -> None:
    config = {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}}
    response = await client.generate("gemini", stream=True, more={"generationConfig": config})

    counts = [event["usageMetadata"]["candidatesTokenCount"] for event in response.events]
    assert counts == sorted(counts)
    last = response.events[-1]["usageMetadata"]
    assert last["thoughtsTokenCount"] == 64
    assert last["totalTokenCount"] == last["promptTokenCount"] + counts[-1] + 64
    assert response.events[0]["candidates"][0]["content"]["parts"][0]["thought"] is True
    assert b"\r\n\r\n" in response.raw


async def test_models_think_without_being_asked(client: ProviderClient) -> None:
    assert usage_of("gemini", await client.generate("gemini"))["reasoning"] == 32


async def test_both_versions_of_the_api_answer(client: ProviderClient) -> None:
    path, provider, body = request("gemini")
    response = await client.post(path.replace("v1beta", "v1"), provider, body)

    assert text_of("gemini", response) == text_of("gemini", await client.generate("gemini"))


async def test_an_openapi_schema_is_respected_in_its_order(client: ProviderClient) -> None:
    config = {"responseMimeType": "application/json", "responseSchema": OPENAPI}
    response = await client.generate("gemini", more={"generationConfig": config})

    instance = json.loads(text_of("gemini", response))
    assert list(instance) == OPENAPI["propertyOrdering"]
    assert instance["mood"] in ("CALM", "MERRY")
    assert len(instance["steps"]) == 2


async def test_json_without_a_schema_is_an_object(client: ProviderClient) -> None:
    config = {"responseMimeType": "application/json"}
    response = await client.generate("gemini", more={"generationConfig": config})

    jsonschema.validate(json.loads(text_of("gemini", response)), {"type": "object"})


async def test_tokens_are_counted(client: ProviderClient) -> None:
    path, provider, body = request("gemini")
    counted = await client.post(
        path.replace("generateContent", "countTokens"), provider, {"contents": body["contents"]}
    )

    assert (
        counted.body["totalTokens"] == usage_of("gemini", await client.generate("gemini"))["input"]
    )


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
    client: ProviderClient, path: str, body: dict[str, Any], status: int
) -> None:
    response = await client.post(path, "gemini", body)

    assert response.status == status == response.body["error"]["code"]
    assert response.body["error"]["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
