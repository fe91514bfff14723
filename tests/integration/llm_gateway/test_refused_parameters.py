"""A refusal that names a part of a request: it is asked once more without, and told."""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.catalog import SCRIPTED, SCRIPTED_FORMATS, set_provider
from tests.support.gateway_client import by_id, struct
from tests.support.provider_streams import STREAMS
from tests.support.scripted_provider import Reply

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.gateway_client import Fields, GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

    from nagaya.llm_gateway.v1 import generation_pb2

Json = dict[str, Any]
SCHEMA: Json = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
FITTING = json.dumps({"title": "Cranes"})


def claude(message: str) -> Reply:
    error = {"type": "invalid_request_error", "message": message}
    return Reply.of_json({"type": "error", "error": error}, "400 Bad Request")


def openai(message: str, param: str | None, code: str | None) -> Reply:
    kind = "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Reply.of_json({"error": error}, "400 Bad Request")


def gemini(*names: str) -> Reply:
    texts = [
        f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        for name in names
    ]
    error = {"code": 400, "message": "\n".join(texts), "status": "INVALID_ARGUMENT"}
    return Reply.of_json([{"error": error}], "400 Bad Request")


@asynccontextmanager
async def address_of_its_own(
    scripted: ScriptedProvider, client: GatewayClient, form: str, version: str = ""
) -> AsyncGenerator[None]:
    """Give a provider an address that no other test has taught the gateway anything of."""
    wire = SCRIPTED_FORMATS[form]
    url = f"{scripted.url}/{secrets.token_hex(4)}{version or '/v1' * (form == 'chat')}"
    await set_provider(client, SCRIPTED[form], url, wire)
    try:
        yield
    finally:
        await set_provider(client, SCRIPTED[form], scripted.url, wire)


def spec(
    client: GatewayClient, form: str, call: int = 1, **more: Fields
) -> generation_pb2.GenerationSpec:
    return client.spec(model=by_id(SCRIPTED[form]), call=call, **more)


def bodies(scripted: ScriptedProvider, client: GatewayClient) -> list[Json]:
    return [request.json() for request in scripted.requests(client.word)]


@pytest.mark.parametrize(
    ("form", "name", "refusal"),
    [
        ("claude", "service_tier", claude("service_tier: Input should be 'auto'")),
        ("claude", "inference_geo", claude("inference_geo 'global' is not allowed here")),
        (
            "responses",
            "service_tier",
            openai("Invalid service_tier argument", "service_tier", None),
        ),
        ("chat", "service_tier", openai("Unknown parameter: 'service_tier'.", None, None)),
        (
            "chat",
            "stream_options",
            Reply.of_json(
                {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]},
                "422 Unprocessable Entity",
            ),
        ),
    ],
)
async def test_a_parameter_that_is_refused_is_left_out_once_and_from_then_on(
    scripted: ScriptedProvider, client: GatewayClient, form: str, name: str, refusal: Reply
) -> None:
    scripted.script(client.word, refusal, Reply(STREAMS[form].whole("hi")))
    async with address_of_its_own(scripted, client, form):
        await client.generate(spec(client, form))
        await client.generate(spec(client, form, call=2))

    first, second, third = bodies(scripted, client)
    assert name in first
    assert name not in second
    assert first.keys() - second.keys() == {name}
    assert third.keys() == second.keys()
    refused, settled = (await client.get_call()).attempts
    assert (refused.state, refused.cost_micro_usd) == (call_pb2.CALL_STATE_FAILED, 0)
    assert f"asked again without {name}" in refused.error
    assert f"sent without {name}" in settled.note
    assert settled.estimated == (name != "stream_options")  # it may cost more than is booked
    assert len((await client.get_call(2)).attempts) == 1


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        ("responses", openai("Unsupported parameter: 'temperature' is not supported with this"
                             " model.", "temperature", "unsupported_parameter")),
        ("chat", openai("Unsupported value: 'temperature' does not support 0 with this model."
                        " Only the default (1) value is supported.",
                        "temperature", "unsupported_value")),
    ],
)  # fmt: skip
async def test_a_temperature_that_a_model_no_longer_takes_is_left_out_and_reported(
    scripted: ScriptedProvider, client: GatewayClient, form: str, refusal: Reply
) -> None:
    scripted.script(client.word, refusal, Reply(STREAMS[form].whole("hi")))
    async with address_of_its_own(scripted, client, form):
        await client.generate(spec(client, form, temperature=0.0))

    first, second = bodies(scripted, client)
    assert (first["temperature"], "temperature" in second) == (0, False)
    settled = (await client.get_call()).attempts[1]
    assert (settled.note, settled.estimated) == ("sent without temperature, refused before", False)


async def test_a_temperature_out_of_its_range_is_the_callers_mistake(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    message = "Invalid 'temperature': decimal above maximum value. Expected a value <= 1."
    code = "decimal_above_max_value"
    scripted.script(client.word, openai(message, "temperature", code))
    async with address_of_its_own(scripted, client, "chat"):
        refused = await client.generate_refused(spec(client, "chat", temperature=1.5))

    assert refused.reason == "PROVIDER_REFUSED"
    assert len(scripted.requests(client.word)) == 1


async def test_an_older_server_is_sent_the_limit_by_its_older_name(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    refusal = openai("Unrecognized request argument supplied: max_completion_tokens", None, None)
    scripted.script(client.word, refusal, Reply(STREAMS["chat"].whole("hi")))
    async with address_of_its_own(scripted, client, "chat"):
        await client.generate(spec(client, "chat", max_output_tokens=500))

    first, second = bodies(scripted, client)
    assert second["max_tokens"] == first["max_completion_tokens"]
    assert "max_completion_tokens" not in second


@pytest.mark.parametrize(
    "names",
    [
        ["systemInstruction"],
        ["responseMimeType", "responseJsonSchema"],
        ["generationConfig.responseSchema"],
        ["serviceTier"],
    ],
)
async def test_a_field_that_gemini_does_not_know_is_tried_once_under_the_other_version(
    scripted: ScriptedProvider, client: GatewayClient, names: list[str]
) -> None:
    scripted.script(client.word, gemini(*names), Reply(STREAMS["gemini"].whole("hi")))
    async with address_of_its_own(scripted, client, "gemini"):
        await client.generate(spec(client, "gemini"))
        await client.generate(spec(client, "gemini", call=2))

    paths = [request.path.split("/")[2] for request in scripted.requests(client.word)]
    assert paths == ["v1", "v1beta", "v1beta"]
    first, second, _ = bodies(scripted, client)
    assert first == second
    refused = (await client.get_call()).attempts[0]
    assert f"/v1 does not know {names[0]}" in refused.error
    assert "api_base_url" in refused.error


async def test_what_gemini_knows_under_neither_version_is_refused_after_two_requests(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, gemini("systemInstruction"))
    async with address_of_its_own(scripted, client, "gemini"):
        refused = await client.generate_refused(spec(client, "gemini"))

    assert refused.reason == "PROVIDER_REFUSED"
    assert len(scripted.requests(client.word)) == 2


async def test_what_can_be_left_out_is_left_out_when_no_version_knows_it(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    unknown = gemini("serviceTier")
    scripted.script(client.word, unknown, unknown, Reply(STREAMS["gemini"].whole("hi")))
    async with address_of_its_own(scripted, client, "gemini"):
        await client.generate(spec(client, "gemini"))

    tiers = ["serviceTier" in body for body in bodies(scripted, client)]
    assert tiers == [True, True, False]


async def test_an_address_that_names_a_version_keeps_it(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, gemini("systemInstruction"))
    async with address_of_its_own(scripted, client, "gemini", "/v1beta"):
        refused = await client.generate_refused(spec(client, "gemini"))

    assert refused.reason == "PROVIDER_REFUSED"
    (request,) = scripted.requests(client.word)
    assert request.path.split("/")[2] == "v1beta"


@pytest.mark.parametrize(
    ("form", "refusal", "where"),
    [
        ("claude", claude("output_config.format.schema: the compiled grammar is too large"),
         "output_config"),
        ("responses", openai("Invalid schema for response_format 'reply': In context=()",
                             "text.format.schema", "invalid_json_schema"), "text"),
        ("chat", openai("This response_format type is unavailable now", None, None),
         "response_format"),
        ("gemini", Reply.of_json({"error": {"code": 400, "status": "INVALID_ARGUMENT",
         "message": "The specified schema produces a constraint that has too many states"}},
         "400 Bad Request"), "responseJsonSchema"),
    ],
)  # fmt: skip
async def test_a_schema_that_is_refused_is_asked_for_in_words_and_checked_all_the_same(
    scripted: ScriptedProvider, client: GatewayClient, form: str, refusal: Reply, where: str
) -> None:
    loosely = form in ("responses", "chat")
    fitting = Reply(STREAMS[form].whole(FITTING))
    scripted.script(client.word, *[refusal] * (1 + loosely), fitting)
    schema = struct(SCHEMA)
    async with address_of_its_own(scripted, client, form):
        done = await client.generate(spec(client, form, output_schema=schema))
        await client.generate(spec(client, form, call=2, output_schema=schema))

    sent = bodies(scripted, client)
    assert [where in json.dumps(body) for body in sent] == [*[True] * (1 + loosely), False, False]
    if loosely:
        assert ['"strict": true' in json.dumps(body) for body in sent[:2]] == [True, False]
    assert "must fit this JSON Schema" in json.dumps(sent[-1])
    assert (await client.reply(done.call))["content"] == {"title": "Cranes"}
    assert "asked for in words" in done.call.attempts[-2].error


async def test_other_refusals_are_sent_once(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, claude("messages: roles must alternate"))
    async with address_of_its_own(scripted, client, "claude"):
        refused = await client.generate_refused(spec(client, "claude"))

    assert refused.reason == "PROVIDER_REFUSED"
    assert len(scripted.requests(client.word)) == 1
