from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.llmstub.provider_client import KEYS, PROMPT, ProviderClient, request, usage_of

if TYPE_CHECKING:
    from llmstub import LlmStub


async def test_the_events_of_a_stream_come_in_claudes_order(client: ProviderClient) -> None:
    response = await client.generate("claude", stream=True)

    kinds = [event["type"] for event in response.events]
    deltas = kinds.count("content_block_delta")
    assert deltas > 5
    assert kinds == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert b"event: message_start\ndata: {" in response.raw


async def test_thinking_is_a_block_of_its_own_and_part_of_the_output(
    client: ProviderClient,
) -> None:
    more = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    whole = await client.generate("claude", more=more)
    streamed = await client.generate("claude", more=more, stream=True)

    assert [block["type"] for block in whole.body["content"]] == ["thinking", "text"]
    assert usage_of("claude", whole)["reasoning"] == 64
    deltas = [e["delta"]["type"] for e in streamed.events if e["type"] == "content_block_delta"]
    assert deltas[:3] == ["thinking_delta", "signature_delta", "text_delta"]
    assert usage_of("claude", streamed) == usage_of("claude", whole)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
async def test_a_marked_prefix_is_read_from_the_cache_or_written_to_it(
    client: ProviderClient, ttl: str
) -> None:
    found: set[str] = set()
    for n in range(20):
        control = {"type": "ephemeral", "ttl": ttl}
        system = [{"type": "text", "text": f"{n} " + "rule " * 1000, "cache_control": control}]
        used = (await client.generate("claude", more={"system": system})).body["usage"]
        read, written = used["cache_read_input_tokens"], used["cache_creation_input_tokens"]
        assert bool(read) != bool(written)
        assert used["input_tokens"] < 40
        assert sum(used["cache_creation"].values()) == written
        found.add("read" if read else "written")
        kept = used["cache_creation"]["ephemeral_1h_input_tokens"]
        assert kept == (written if ttl == "1h" else 0)
    assert found == {"read", "written"}


async def test_counting_costs_nothing_and_agrees_with_the_bill(
    client: ProviderClient, stub: LlmStub
) -> None:
    _, _, body = request("claude")
    counted = await client.post("/v1/messages/count_tokens", "claude", body)
    response = await client.generate("claude")

    assert counted.body == {"input_tokens": usage_of("claude", response)["input"]}
    assert [call.begin.kind for call in stub.calls()] == ["count", "generate"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": None}, "max_tokens: field required"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unexpected role"),
        ({"temperature": 0.5}, "temperature: Extra inputs"),
        (
            {
                "model": "claude-sonnet-4-6",
                "thinking": {"type": "enabled", "budget_tokens": 8000},
            },
            "must be greater",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "not supported by this model"),
        ({"thinking": {"type": "disabled"}}, "not supported by this model"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "non-whitespace"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-whitespace"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            "prefill",
        ),
        ({"frequency": 1}, "frequency: Extra inputs"),
        ({"service_tier": "default"}, "service_tier"),
        ({"output_config": {"format": {"type": "xml"}}}, "expected json_schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"not": {}}}}}, "not"),
    ],
)
async def test_what_claude_refuses_is_refused(
    client: ProviderClient, change: dict[str, Any], words: str
) -> None:
    response = await client.generate("claude", more=change)

    assert response.status == 400
    assert response.body["type"] == "error"
    assert response.body["error"]["type"] == "invalid_request_error"
    assert words in response.body["error"]["message"]
    assert response.body["request_id"] == response.headers["request-id"]


async def test_the_version_header_is_required_and_decides_about_sampling(
    client: ProviderClient,
) -> None:
    path, _, body = request("claude")
    key = {"x-api-key": "k"}
    without = await client.post(path, "none", body, key)
    older = key | {"anthropic-version": "2023-06-01"}
    sampled = await client.post(path, "none", body | {"temperature": 0.5}, older)

    assert without.status == 400
    assert "anthropic-version" in without.body["error"]["message"]
    assert sampled.status == 200


async def test_a_bearer_token_is_a_key_too(client: ProviderClient) -> None:
    path, _, body = request("claude", PROMPT)
    headers = KEYS["openai"] | {"anthropic-version": "2026-10-21"}

    assert (await client.post(path, "none", body, headers)).status == 200
