"""The stub refuses what the providers refuse."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.lib._parse._transform import transform_schema
from tests.unit.llmstub.provider_client import text_of

if TYPE_CHECKING:
    from tests.unit.llmstub.provider_client import ProviderClient

    from llmstub import LlmStub

Json = dict[str, Any]
TEXT: Json = {"type": "string"}


def closed(**properties: object) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (closed(a={"type": "array", "items": TEXT, "maxItems": 4}), "'maxItems' is not supported"),
        (closed(a={"type": "array", "items": TEXT, "minItems": 2}), "other than 0 or 1"),
        (closed(a={"type": "integer", "minimum": 1}), "'minimum' is not supported"),
        (closed(a={"type": "string", "maxLength": 3}), "'maxLength' is not supported"),
        (closed(a={"oneOf": [TEXT]}), "'oneOf' is not supported"),
        ({"type": "object", "properties": {"a": TEXT}}, "must be set to false"),
        (closed(a={}), "type is required"),
        (closed(a={"$ref": "#"}), "Circular"),
        (
            {"type": "object", "additionalProperties": False,
             "properties": {f"p{n}": TEXT for n in range(25)}},
            "too many optional parameters",
        ),
        (closed(**{f"p{n}": {"anyOf": [TEXT, {"type": "null"}]} for n in range(17)}), "union"),
    ],
)  # fmt: skip
async def test_claude_refuses_a_schema_that_its_sdk_would_not_send(
    client: ProviderClient, schema: Json, words: str
) -> None:
    response = await client.generate("claude", schema=schema)

    assert response.status == 400
    assert words in response.body["error"]["message"]


async def test_claude_takes_what_its_sdk_makes_of_bounds_and_keeps_to_them(
    client: ProviderClient,
) -> None:
    points = {"type": "array", "items": TEXT, "minItems": 5, "maxItems": 5}
    schema = closed(points=points, score={"type": "integer", "minimum": 40, "maximum": 41})
    response = await client.generate("claude", schema=transform_schema(copy.deepcopy(schema)))

    reply = json.loads(text_of("claude", response))
    assert len(reply["points"]) == 5
    assert reply["score"] in (40, 41)


@pytest.mark.parametrize("form", ["chat", "responses"])
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": TEXT},
        {"anyOf": [closed(a=TEXT)], "type": "object"},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        closed(a={"oneOf": [TEXT]}),
        closed(a={"allOf": [TEXT]}),
        closed(a={"type": "string", "format": "uri"}),
        closed(a={"enum": ["a"]}),
    ],
)
async def test_openai_refuses_to_be_strict_about_what_its_strict_mode_does_not_take(
    client: ProviderClient, form: str, schema: Json
) -> None:
    json_schema = {"name": "reply", "schema": schema, "strict": True}
    more: dict[str, Json] = {
        "chat": {"response_format": {"type": "json_schema", "json_schema": json_schema}},
        "responses": {"text": {"format": {"type": "json_schema", **json_schema}}},
    }
    response = await client.generate(form, more=more[form])

    assert response.status == 400
    assert response.body["error"]["code"] == "invalid_json_schema"


@pytest.mark.parametrize("form", ["chat", "responses"])
@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"temperature": 0.5}, "temperature", "unsupported_parameter"),
        ({"top_p": 0.5}, "top_p", "unsupported_parameter"),
        ({"frequency": 1}, "frequency", "unknown_parameter"),
        ({"service_tier": "standard_only"}, "service_tier", None),
    ],
)
async def test_openai_names_the_parameter_that_it_refuses(
    client: ProviderClient, form: str, more: Json, param: str, code: str | None
) -> None:
    response = await client.generate(form, more=more)

    assert response.status == 400
    assert (response.body["error"]["param"], response.body["error"]["code"]) == (param, code)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"frequency": 1}, 'Unknown name "frequency": Cannot find field.'),
        ({"generationConfig": {"respond": 1}}, 'Unknown name "generation_config.respond"'),
        ({"contents": [{"role": "user", "parts": [{"text": ""}]}]}, "must not be empty"),
        ({"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
        ({"serviceTier": "gold"}, "service_tier"),
    ],
)
async def test_gemini_names_the_field_that_it_does_not_know(
    client: ProviderClient, more: Json, words: str
) -> None:
    response = await client.generate("gemini", more=more)

    assert response.status == 400
    assert words in response.body["error"]["message"]


@pytest.mark.parametrize(
    "schema",
    [
        closed(a={"type": "string", "maxLength": 3}),
        closed(a={"const": "x"}),
        closed(a={"enum": [True]}),
        closed(a={"$ref": "#/$defs/b", "title": "B"}) | {"$defs": {"b": TEXT}},
    ],
)
async def test_gemini_refuses_keywords_that_it_does_not_name(
    client: ProviderClient, schema: Json
) -> None:
    assert (await client.generate("gemini", schema=schema)).status == 400


async def test_gemini_takes_the_older_spelling_of_names(client: ProviderClient) -> None:
    more = {"system_instruction": {"parts": [{"text": "Be brief."}]}}

    assert (await client.generate("gemini", more=more)).status == 200


async def test_a_rule_may_look_at_the_path(client: ProviderClient, stub: LlmStub) -> None:
    action = {"kind": "status", "status": 400}
    stub.script([{"match": {"path": "/v1/models/"}, "action": action}])
    _, _, body = ("", "", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]})
    path = "models/gemini-3.8-flash:generateContent"

    assert (await client.post(f"/v1/{path}", "gemini", body)).status == 400
    assert (await client.post(f"/v1beta/{path}", "gemini", body)).status == 200


@pytest.mark.parametrize("form", ["claude", "chat", "responses", "gemini"])
async def test_a_schema_that_stands_in_the_prompt_is_followed(
    client: ProviderClient, form: str
) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2}
    prompt = f"Count. It must fit this JSON Schema:\n{json.dumps(schema)}"

    reply = json.loads(text_of(form, await client.generate(form, prompt)))

    assert len(reply) >= 2
    assert all(isinstance(value, int) for value in reply.values())
