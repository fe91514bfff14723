"""Rules fire for the calls they name, as often as they say, and wrong ones are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.llmstub.provider_client import PROMPT

from llmstub.domain import RequestRefused

if TYPE_CHECKING:
    from tests.unit.llmstub.provider_client import ProviderClient

    from llmstub import LlmStub


async def test_rules_match_by_provider_model_prompt_and_count(
    client: ProviderClient, stub: LlmStub
) -> None:
    stub.script(
        [
            {
                "name": "second outline",
                "match": {
                    "provider": "claude",
                    "model": "claude-sonnet-5-5",
                    "contains": "outline",
                    "nth": 2,
                },
                "action": {"kind": "status", "status": 500},
            }
        ]
    )
    asked = [
        ("claude", "An outline."),
        ("chat", "An outline."),
        ("claude", "A draft."),
        ("claude", "An outline."),
        ("claude", "An outline."),
    ]
    statuses = [(await client.generate(form, prompt)).status for form, prompt in asked]

    assert statuses == [200, 200, 200, 500, 200]
    assert [call.begin.rule for call in stub.calls()][3] == "second outline"


async def test_concurrent_calls_fire_a_rule_exactly_as_often_as_it_says(
    client: ProviderClient, stub: LlmStub
) -> None:
    stub.script([{"name": "ten", "times": 10, "action": {"kind": "overloaded"}}])
    response = await asyncio.gather(*(client.generate("claude", f"Call {n}.") for n in range(40)))

    assert sorted(each.status for each in response) == [200] * 30 + [529] * 10
    assert stub.fired("ten") == 10


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"action": {"kind": "explode"}}, "explode"),
        ({"action": {"kind": "status"}}, "status"),
        ({"action": {"kind": "status", "status": 99}}, "expected 200 to 599"),
        ({"action": {"kind": "drop", "after_bytes": "x"}}, "after_bytes"),
        ({"action": {"kind": "drop", "after": 1}}, "no such option"),
        ({"action": {"kind": "drop"}, "match": {"provider": "acme"}}, "provider"),
        ({"action": {"kind": "drop"}, "match": {"nth": 0}}, "nth"),
        ({"action": {"kind": "drop"}, "when": 1}, "when"),
        ({"action": {"kind": "reply", "finish": "tired"}}, "finish"),
        ({}, "action"),
    ],
)
async def test_a_wrong_script_is_refused_whole(
    stub: LlmStub, rule: dict[str, object], words: str
) -> None:
    with pytest.raises(RequestRefused, match=words):
        stub.script([{"action": {"kind": "drop"}}, rule])

    assert stub.script([{"name": "first", "action": {"kind": "delay"}}]) == ["first"]
    assert stub.fired("rule-1") == 0


async def test_the_script_is_set_seen_and_cleared_over_http(client: ProviderClient) -> None:
    url = f"{client.url}/stub/script"
    rules = {"rules": [{"name": "busy", "action": {"kind": "overloaded"}}]}
    async with client.session.post(url, json=rules) as reply:
        assert await reply.json() == {"added": ["busy"]}
    async with client.session.post(url, json=rules) as reply:
        assert reply.status == 400
    await client.generate("claude", PROMPT)
    async with client.session.get(url) as reply:
        rule = {"name": "busy", "kind": "overloaded", "matched": 1, "fired": 1, "held": 0}
        assert await reply.json() == {"rules": [rule]}
    async with client.session.delete(url) as reply:
        assert await reply.json() == {"removed": 1}
    assert (await client.generate("claude")).status == 200
