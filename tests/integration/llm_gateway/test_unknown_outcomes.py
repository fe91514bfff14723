"""An outcome is unknown only if a request was really sent, and its fate is not known."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.catalog import SCRIPTED, set_provider
from tests.support.gateway_client import by_id
from tests.support.gateway_stack import PROVIDER_KEYS
from tests.support.processes import running
from tests.support.provider_streams import CHAT, STREAMS
from tests.support.scripted_provider import Close, Hold, Pause, Reply, Reset

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack
    from tests.support.scripted_provider import Piece, ScriptedProvider

HI = CHAT.whole("hi there")


@pytest.mark.parametrize("key", ["key-of\nCANARY", "key of CANARY", "schlüssel-CANARY", "鍵"])
async def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_recorded(
    stack: GatewayStack, scripted: ScriptedProvider, client: GatewayClient, key: str
) -> None:
    keys = stack.folder / "odd-keys.json"
    keys.write_text(json.dumps(PROVIDER_KEYS | {SCRIPTED["chat"]: key}))
    keys.chmod(0o600)
    scripted.script(client.word, Reply(HI))

    with running(stack.gateway("odd-key", NAGAYA_PROVIDER_KEYS_FILE=str(keys))) as gateway:
        odd = await client.via(gateway)
        refused = await odd.generate_refused(odd.spec(model=by_id(SCRIPTED["chat"])))

    assert refused.reason == "PROVIDER_KEY_UNUSABLE"
    assert refused.code.name == "FAILED_PRECONDITION"
    assert key not in str(refused)
    assert (
        await client.database.fetch("SELECT FROM llm_calls WHERE run_id = $1", client.run_id) == []
    )
    assert scripted.requests(client.word) == []


async def test_a_key_that_ends_in_a_line_feed_is_sent_without_it(
    stack: GatewayStack, scripted: ScriptedProvider, client: GatewayClient
) -> None:
    keys = stack.folder / "mounted-keys.json"
    keys.write_text(json.dumps(PROVIDER_KEYS | {SCRIPTED["chat"]: " key-CANARY\n"}))
    keys.chmod(0o600)
    scripted.script(client.word, Reply(HI))

    with running(stack.gateway("mounted", NAGAYA_PROVIDER_KEYS_FILE=str(keys))) as gateway:
        through = await client.via(gateway)
        await through.generate(through.spec(model=by_id(SCRIPTED["chat"])))

    (sent,) = scripted.requests(client.word)
    assert sent.headers["authorization"] == "Bearer key-CANARY"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://no-such-host.invalid"])
async def test_what_no_connection_was_made_for_is_not_unknown(
    client: GatewayClient, url: str
) -> None:
    async with provider_at(client, url):
        await assert_failed_for_nothing(client)


async def test_a_handshake_that_is_not_answered_is_not_unknown(
    stack: GatewayStack, scripted: ScriptedProvider, client: GatewayClient
) -> None:
    port = scripted.url.rpartition(":")[2]
    async with provider_at(client, f"https://127.0.0.1:{port}"):
        # It is waited for ten seconds: once, where no retry is left.
        with running(stack.gateway("without-retries", NAGAYA_RETRY_RESERVE="0")) as gateway:
            await assert_failed_for_nothing(await client.via(gateway))


@asynccontextmanager
async def provider_at(client: GatewayClient, url: str) -> AsyncGenerator[None]:
    await set_provider(client, "openai", url, 3)
    try:
        yield
    finally:
        await set_provider(client, "openai", client.stack.stub.url, 2)


async def assert_failed_for_nothing(client: GatewayClient) -> None:
    refused = await client.generate_refused(client.spec(model=by_id("gpt-6.2-sol")))

    assert refused.reason == "PROVIDER_UNAVAILABLE"
    call = await client.get_call()
    assert {attempt.state for attempt in call.attempts} == {call_pb2.CALL_STATE_FAILED}
    assert call.cost_micro_usd == 0


ODD_HEADERS = {
    "a request id that is none": {"x-request-id": "no id\u00ff<script>"},
    "a long header": {"x-policy": "p" * 40_000},
    "a wait that is none": {"retry-after": "soon"},
    "a content type that is none": {"content-type": "\u00ff/;;="},
    "a charset that is none": {"content-type": "text/event-stream; charset=no-such"},
    "cookies": {"set-cookie": "a=b; Expires=never; Max-Age=x"},
    "no coding": {"content-encoding": "identity"},
}


@pytest.mark.parametrize("name", ODD_HEADERS)
async def test_an_odd_header_costs_no_reply(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    scripted.script(client.word, Reply(HI, content_type="", headers=ODD_HEADERS[name]))

    done = await client.generate(client.spec(model=by_id(SCRIPTED["chat"])))

    assert (await client.reply(done.call))["content"] == "hi there"


BROKEN: dict[str, tuple[Piece, ...]] = {
    "a reset": (Reset(),),
    "closed": (Close(),),
    "half a text and a reset": (CHAT.delta("half"), Reset()),
    "half an event and a reset": (CHAT.delta("half")[:-5], Reset()),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_off_before_its_end_is_unknown(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    scripted.script(client.word, Reply(BROKEN[name]))

    refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED["chat"])))

    assert refused.reason == "CALL_OUTCOME_UNKNOWN"
    assert len(scripted.requests(client.word)) == 1


async def test_a_connection_is_kept_for_the_next_request_but_not_until_servers_close_it(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    """A request that meets the server's closing of a kept connection may have been paid for."""
    kept = Reply(HI, keep=True, headers={"keep-alive": "timeout=600"})
    for number in range(1, 4):
        word = f"{client.word}: number-{number}"
        scripted.script(word, kept)
        spec = client.spec(f"number-{number}", call=number, model=by_id(SCRIPTED["chat"]))
        assert len((await client.generate(spec)).call.attempts) == 1
        if number == 2:
            await asyncio.sleep(5)  # the shortest idle time that servers are delivered with

    first, second, third = (r.connection for r in scripted.requests(client.word))
    assert first == second != third


async def test_a_kept_connection_that_the_server_has_closed_is_no_attempt(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    closed = Reply(HI, headers={"connection": "keep-alive"})
    for number in range(1, 4):
        word = f"{client.word}: number-{number}"
        scripted.script(word, closed)
        spec = client.spec(f"number-{number}", call=number, model=by_id(SCRIPTED["chat"]))
        assert len((await client.generate(spec)).call.attempts) == 1
        (request,) = scripted.requests(word)
        await scripted.wait_for_end(request.connection)

    assert len({r.connection for r in scripted.requests(client.word)}) == 3


@pytest.mark.parametrize("form", STREAMS)
async def test_a_provider_may_think_longer_than_it_may_be_silent(
    stack: GatewayStack, scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    settings = {"NAGAYA_PROVIDER_FIRST_BYTE_SECONDS": "20", "NAGAYA_PROVIDER_IDLE_SECONDS": "0.5"}
    stream = STREAMS[form]
    began, *rest = stream.whole("hi there")
    slow = {
        "before the answer": Reply(stream.whole("hi there"), before=(Pause(1.5),)),
        "before the first text": Reply((began if form != "gemini" else ":\n\n", Pause(1.5),
                                        *(rest if form != "gemini" else (began, *rest)))),
    }  # fmt: skip

    with running(stack.gateway("thoughtful", **settings)) as gateway:
        through = await client.via(gateway)
        for number, (name, reply) in enumerate(slow.items(), 1):
            scripted.script(f"{client.word}: {name}", reply)
            spec = through.spec(name, call=number, model=by_id(SCRIPTED[form]))
            done = await through.generate(spec)
            assert (await client.reply(done.call))["content"] == "hi there"

        silent = threading.Event()
        pieces = (stream.began(), stream.delta("half"), Hold(silent))
        scripted.script(f"{client.word}: silent", Reply(pieces))
        spec = through.spec("silent", call=9, model=by_id(SCRIPTED[form]))
        refused = await through.generate_refused(spec)
        silent.set()

    assert refused.reason == "CALL_OUTCOME_UNKNOWN"
    error = (await client.get_call(9)).attempts[0].error
    assert error == "nothing came for too long in the middle of the reply"


async def test_a_provider_that_does_not_answer_at_all_is_given_up_in_time(
    stack: GatewayStack, scripted: ScriptedProvider, client: GatewayClient
) -> None:
    silent = threading.Event()
    scripted.script(client.word, Reply(HI, before=(Hold(silent),)))
    impatient = await client.via(stack.gateways[1])

    refused = await impatient.generate_refused(impatient.spec(model=by_id(SCRIPTED["chat"])))
    silent.set()

    assert refused.reason == "CALL_OUTCOME_UNKNOWN"
    error = (await client.get_call()).attempts[0].error
    assert error == "nothing came for too long before the reply"
