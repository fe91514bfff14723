from __future__ import annotations

from typing import Any

import pytest
from tests.unit.llmstub.provider_client import ProviderClient, request, usage_of


async def test_the_events_of_a_response_come_in_order_and_are_numbered(
    client: ProviderClient,
) -> None:
    response = await client.generate("responses", stream=True)

    kinds = [event["type"].removeprefix("response.") for event in response.events]
    deltas = kinds.count("output_text.delta")
    assert deltas > 5
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    numbers = [event["sequence_number"] for event in response.events]
    assert numbers == list(range(len(numbers)))


async def test_a_response_that_is_cut_ends_incomplete(client: ProviderClient) -> None:
    response = await client.generate("responses", stream=True, limit=20)

    last = response.events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_reasoning_is_an_item_of_its_own_and_part_of_the_output(
    client: ProviderClient,
) -> None:
    more = {"reasoning": {"effort": "medium", "summary": "auto"}}
    whole = await client.generate("responses", more=more)
    streamed = await client.generate("responses", more=more, stream=True)

    assert [item["type"] for item in whole.body["output"]] == ["reasoning", "message"]
    assert whole.body["output"][0]["summary"][0]["text"]
    assert usage_of("responses", whole)["reasoning"] == 128
    assert usage_of("responses", streamed) == usage_of("responses", whole)
    kinds = [event["type"] for event in streamed.events]
    assert "response.reasoning_summary_text.delta" in kinds
    assert kinds.count("response.output_item.done") == 2


async def test_input_may_be_a_list_of_messages(client: ProviderClient) -> None:
    parts = [{"type": "input_text", "text": "Write about storm water."}]
    items = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    response = await client.generate(
        "responses", more={"input": items, "instructions": "In English."}
    )

    assert response.status == 200
    assert "storm water" in response.raw.decode()


async def test_input_tokens_are_counted(client: ProviderClient) -> None:
    _, _, body = request("responses")
    counted = await client.post("/v1/responses/input_tokens", "openai", body)
    response = await client.generate("responses")

    assert counted.body["input_tokens"] == usage_of("responses", response)["input"]


async def test_a_chat_streams_usage_only_when_asked_and_ends_with_done(
    client: ProviderClient,
) -> None:
    asked = await client.generate("chat", stream=True)
    unasked = await client.generate("chat", stream=True, more={"stream_options": None})

    assert asked.events[-1] == unasked.events[-1] == "[DONE]"
    assert asked.events[-2]["choices"] == []
    assert asked.events[-2]["usage"]["total_tokens"] > 0
    assert not any("usage" in event for event in unasked.events[:-1])
    assert asked.events[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_a_cached_prompt_is_counted_within_the_input(client: ProviderClient) -> None:
    prompt = "storm water " * 2000
    body = (await client.generate("responses", prompt, more={"prompt_cache_key": "k"})).body
    details = body["usage"]["input_tokens_details"]

    assert details["cached_tokens"] + details["cache_write_tokens"] == body["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("form", "change", "words"),
    [
        ("responses", {"max_output_tokens": 5}, "at least 16"),
        ("responses", {"input": None}, "input: field required"),
        ("responses", {"reasoning": {"effort": "huge"}}, "huge"),
        ("chat", {"messages": []}, "empty array"),
        (
            "chat",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "schema",
        ),
    ],
)
async def test_what_openai_refuses_is_refused(
    client: ProviderClient, form: str, change: dict[str, Any], words: str
) -> None:
    response = await client.generate(form, more=change)

    assert response.status == 400
    assert words in response.body["error"]["message"]
    assert set(response.body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    ],
)
async def test_a_strict_schema_has_to_be_closed_and_complete(
    client: ProviderClient, schema: dict[str, Any]
) -> None:
    form = {"type": "json_schema", "name": "reply", "schema": schema, "strict": True}
    strict = await client.generate("responses", more={"text": {"format": form}})
    lax = await client.generate("responses", more={"text": {"format": form | {"strict": False}}})

    assert (strict.status, lax.status) == (400, 200)
