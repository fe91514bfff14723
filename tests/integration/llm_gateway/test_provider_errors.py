"""What a provider's error becomes, wherever it is told, and what of its words reaches who can mend
it: nothing of a key, a prompt or a reply.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.provider_error_cases import CASES, claude, gemini, openai
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import by_id
from tests.support.gateway_stack import PROVIDER_KEYS
from tests.support.provider_streams import CLAUDE, RESPONSES, STREAMS
from tests.support.scripted_provider import Reply

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import Fields, GatewayClient
    from tests.support.gateway_stack import GatewayStack
    from tests.support.scripted_provider import ScriptedProvider


@pytest.mark.parametrize("name", CASES)
async def test_an_error_is_reported_as_what_it_is(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    case = CASES[name]
    scripted.script(client.word, case.reply())

    refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED[case.form])))

    assert (refused.reason, len(scripted.requests(client.word))) == (case.reason, case.requests)
    assert case.words in str(refused)
    call = await client.get_call()
    assert [attempt.state for attempt in call.attempts] == (
        [call_pb2.CALL_STATE_FAILED] * case.requests
    )
    assert call.attempts[-1].http_status == case.status
    assert case.code in ("", call.attempts[-1].provider_error.code)


async def test_a_policy_that_blocks_a_request_is_final_until_the_model_changes(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    blocked = Reply.of_json(openai("content_filter"), "400 Bad Request")
    scripted.script(client.word, blocked, Reply(CLAUDE.whole("hi")))

    for _ in range(2):
        refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED["chat"])))
        assert refused.reason == "REPLY_REFUSED"

    assert len(scripted.requests(client.word)) == 1
    assert (await client.get_call()).cost_micro_usd == 0


async def test_the_usage_of_an_error_inside_a_stream_is_what_was_reported(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    failed = RESPONSES.ended("failed", error={"code": "bio_policy", "message": "x"})
    scripted.script(client.word, Reply((RESPONSES.began(), failed)))

    await client.generate_refused(client.spec(model=by_id(SCRIPTED["responses"])))

    (attempt,) = (await client.get_call()).attempts
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (10, 5)
    assert not attempt.estimated


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize(
    ("error", "requests"),
    [({"code": 402, "type": "billing_error", "status": "RESOURCE_EXHAUSTED"}, 1),
     ({"code": 503, "type": "overloaded_error", "status": "UNAVAILABLE"}, 3)],
    ids=["no credit", "overloaded"],
)  # fmt: skip
async def test_text_before_an_error_inside_a_stream_is_paid_by_estimate(
    scripted: ScriptedProvider, client: GatewayClient, form: str, error: Fields, requests: int
) -> None:
    stream = STREAMS[form]
    pieces = (stream.delta("x" * 400), stream.error(message="m", **error))
    scripted.script(client.word, Reply(pieces))

    await client.generate_refused(client.spec(model=by_id(SCRIPTED[form])))

    assert len(scripted.requests(client.word)) == requests
    call = await client.get_call()
    assert len(call.attempts) == requests
    for attempt in call.attempts:
        assert attempt.estimated
        assert attempt.usage.output_tokens == 100
        assert attempt.usage.input_tokens > 0
        assert attempt.note == "the reply broke off before its tokens were told"
    assert call.cost_micro_usd > 1500 * requests


QUOTED = "The blue heron stood at the weir. 青鷺が堰に立っていた。"
KEY = PROVIDER_KEYS[SCRIPTED["chat"]]


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("max_tokens: 7 > 5, which is the maximum", "max_tokens: 7 > 5, which is the maximum"),
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: "),
        (f"Incorrect API key provided: {KEY[:9]}***{KEY[-7:]}", "Incorrect API key provided: "),
        ("the key sk-proj-aBc***xYz is wrong", "the key … is wrong"),
        ("sent with Authorization: Bearer abc.def", "sent with Authorization: …"),
        (f"cannot parse {QUOTED}", "cannot parse…"),
        (f"cannot parse {QUOTED[4:20]}…", "cannot pars…"),
        (f"cannot parse {json.dumps(QUOTED)}", 'cannot parse "…"'),
        ("said 青鷺が堰に立", "said…"),
        ("a\nb\0c" + "x" * 900, "a b c" + "x" * 295),
    ],
)
async def test_the_providers_words_are_kept_without_key_and_prompt(
    stack: GatewayStack,
    scripted: ScriptedProvider,
    client: GatewayClient,
    form: str,
    message: str,
    kept: str,
) -> None:
    bodies = {
        "claude": claude("invalid_request_error", message),
        "gemini": gemini(400, "INVALID_ARGUMENT", message),
    }
    body = bodies.get(form, openai("bad_value", message=message))
    key = PROVIDER_KEYS[SCRIPTED[form]]
    text = json.dumps(body).replace(KEY, key).replace(KEY[-7:], key[-7:])
    scripted.script(client.word, Reply((text,), "400 Bad Request", "application/json"))

    refused = await client.generate_refused(client.spec(QUOTED, model=by_id(SCRIPTED[form])))
    error = (await client.get_call()).attempts[0].provider_error

    assert error.message.startswith(kept)
    assert len(error.message) <= 300
    rows = await client.database.fetch(
        "SELECT a.* FROM llm_call_attempts a JOIN llm_calls c ON c.id = call_id WHERE run_id = $1",
        client.run_id,
    )
    logs = [log.read_text() for log in stack.folder.glob("*.log")]
    for place in (str([dict(row) for row in rows]), str(refused), str(error), *logs):
        assert "heron" not in place
        assert "青鷺が堰" not in place
        assert "CANARY" not in place
        assert client.word not in place


async def test_what_is_no_identifier_is_no_code(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    secret = f"leak-{secrets.token_hex(8)}"
    body = openai(f"a {secret} code", "x" * 101, param=f"messages[{secret}]", message=secret)
    scripted.script(client.word, Reply.of_json(body, "400 Bad Request"))

    refused = await client.generate_refused(client.spec(secret, model=by_id(SCRIPTED["chat"])))

    error = (await client.get_call()).attempts[0].provider_error
    assert (error.code, error.type, error.param) == ("", "", "")
    assert secret not in f"{refused} {error}"
