"""Whatever form a paid reply comes in, it is read; two replies are never joined into one."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING

import brotli
import pytest
from backports import zstd
from tests.integration.llm_gateway.reply_forms import CHAT_END, HI, OF_ONE, TWO
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import Fields, by_id, struct
from tests.support.provider_streams import CHAT, STREAMS, event
from tests.support.scripted_provider import Close, Pause, Reply, Reset

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

JSON = "application/json"


def whole(form: str) -> str:
    return "".join(STREAMS[form].whole(HI))


def until_end(form: str) -> str:
    """Return a reply up to its end, without what follows."""
    stream = STREAMS[form]
    return "".join((stream.began(), stream.delta(HI), stream.ended(stream.complete)))


def one_value(form: str) -> str:
    return json.dumps(STREAMS[form].unstreamed(HI))


def listed(form: str) -> str:
    """Return the values of a stream as one list, as Gemini sends them without `alt=sse`."""
    lines = whole(form).splitlines()
    return "[" + "\n,\n".join(line[6:] for line in lines if line.startswith("data: {")) + "]\n"


def coded(coding: str, data: bytes) -> Reply:
    return Reply((data,), headers={"content-encoding": coding})


def of_all(make: Fields) -> list[tuple[str, Fields]]:
    return [(form, make(form)) for form in STREAMS]


# Each list holds, by wire format, one way in which a whole reply comes.
EACH = {
    "one event at a time": of_all(lambda form: Reply(STREAMS[form].whole(HI))),
    "in one piece": of_all(lambda form: Reply((whole(form),))),
    "byte for byte": of_all(lambda form: Reply(tuple(bytes([b]) for b in whole(form).encode()))),
    "lines ended as in Windows": of_all(lambda form: Reply((whole(form).replace("\n", "\r\n"),))),
    "nothing after the end": of_all(lambda form: Reply((until_end(form),))),
    "a reset after the end": of_all(lambda form: Reply((until_end(form), Reset()))),
    "the connection closed after the end": of_all(lambda form: Reply((until_end(form), Close()))),
    "a reset after everything": of_all(lambda form: Reply((whole(form), Reset()))),
    "an error after the end": of_all(
        lambda form: Reply((until_end(form), STREAMS[form].error(code=500, type="api_error")))
    ),
    "half an event after the end": of_all(lambda form: Reply((until_end(form), 'data: {"ty'))),
    "the mark of the end": of_all(lambda form: Reply((until_end(form), event("[DONE]")))),
    "the mark of the end with a space": of_all(
        lambda form: Reply((until_end(form), event("[DONE] ")))
    ),
    "the mark of the end without one": of_all(
        lambda form: Reply((until_end(form), "data:[DONE]\n\n"))
    ),
    "events without data": of_all(
        lambda form: Reply(("data:\n\n", "event: ping\ndata:\n\n", "data: null\n\n", whole(form)))
    ),
    "comments": of_all(lambda form: Reply((": OPENROUTER PROCESSING\n\n", whole(form)))),
    "no empty lines between events": of_all(
        lambda form: Reply((whole(form).replace("\n\n", "\n"),))
    ),
    "JSON on lines of their own": of_all(
        lambda form: Reply((listed(form).strip("[]\n").replace("\n,\n", "\n"),))
    ),
    "a document and something behind it": of_all(
        lambda form: Reply((one_value(form), "\n<!-- proxy -->"), content_type=JSON)
    ),
    "data on several lines": of_all(
        lambda form: Reply((whole(form).replace(': "', ':\ndata: "'),))
    ),
    "a byte order mark": of_all(lambda form: Reply((b"\xef\xbb\xbf" + whole(form).encode(),))),
    "JSON in place of a stream": of_all(lambda form: Reply((one_value(form),), content_type=JSON)),
    "JSON in pieces": of_all(lambda form: Reply(tuple(one_value(form)), content_type=JSON)),
    "JSON that is called a stream": of_all(lambda form: Reply((one_value(form),))),
    "JSON in one event": of_all(lambda form: Reply((event(one_value(form)),))),
    "a list of values": of_all(lambda form: Reply((listed(form),), content_type=JSON)),
    "a list that is not closed": of_all(
        lambda form: Reply((listed(form).rstrip("]\n"), Reset()), content_type=JSON)
    ),
    "a stream that is called JSON": of_all(lambda form: Reply((whole(form),), content_type=JSON)),
    "a stream that is called text": of_all(
        lambda form: Reply((whole(form),), content_type="text/plain; charset=latin-1")
    ),
    "a stream without a content type": of_all(lambda form: Reply((whole(form),), content_type="")),
    "an odd content type": of_all(lambda form: Reply((whole(form),), content_type=";;=\x01")),
    "status 201": of_all(lambda form: Reply((whole(form),), "201 Created")),
    "status 203": of_all(lambda form: Reply((whole(form),), "203 Non-Authoritative Information")),
    "a large header": of_all(lambda form: Reply((whole(form),), headers={"x": "p" * 20_000})),
    "gzip": of_all(lambda form: coded("gzip", gzip.compress(whole(form).encode()))),
    "gzip that breaks off": of_all(
        lambda form: coded("gzip", gzip.compress(whole(form).encode())[:-6])
    ),
    "br": of_all(lambda form: coded("br", brotli.compress(whole(form).encode()))),
    "zstd": of_all(lambda form: coded("zstd", zstd.compress(whole(form).encode()))),
}  # fmt: skip


@pytest.mark.parametrize("name", EACH)
async def test_a_whole_reply_is_read_however_it_comes(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    for number, (form, reply) in enumerate(EACH[name], 1):
        spec = client.spec(f"of-{form}", model=by_id(SCRIPTED[form]), call=number)
        scripted.script(f"{client.word}: of-{form}", reply)

        done = await client.generate(spec)

        received = (form, (await client.reply(done.call))["content"])
        assert received == (form, HI)
        assert done.call.finish_reason == call_pb2.FINISH_REASON_STOP
        assert len(scripted.requests(f"{client.word}: of-{form}")) == 1


@pytest.mark.parametrize("name", OF_ONE)
async def test_a_reply_in_a_form_of_its_own_is_read(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    form, pieces = OF_ONE[name]
    scripted.script(client.word, Reply(pieces))

    done = await client.generate(client.spec(model=by_id(SCRIPTED[form])))

    assert (await client.reply(done.call))["content"] == HI
    assert done.call.finish_reason == call_pb2.FINISH_REASON_STOP


@pytest.mark.parametrize("name", TWO)
async def test_a_second_reply_in_the_middle_of_the_first_is_joined_to_nothing(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    form, pieces = TWO[name]
    scripted.script(client.word, Reply(pieces))

    refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED[form])))

    assert refused.reason == "REPLY_INVALID"
    assert "second reply" in str(refused)
    assert len(scripted.requests(client.word)) == 1


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"title": "Cranes"}\n```',
        '```\n{"title": "Cranes"}\n```\n',
        '\n ```JSON \r\n{"title": "Cranes"}\r\n``` ',
        '```{"title": "Cranes"}```',
        '\ufeff{"title": "Cranes"}',
        '  {"title": "Cranes"}\n',
        '```json\n{"title": "Cra```nes"}\n```',
    ],
)
async def test_a_markdown_code_block_round_a_structured_reply_is_taken_off(
    scripted: ScriptedProvider, client: GatewayClient, form: str, text: str
) -> None:
    schema = struct({"type": "object", "properties": {"title": {"type": "string"}},
                     "required": ["title"]})  # fmt: skip
    scripted.script(client.word, Reply(STREAMS[form].whole(text)))
    spec = client.spec(model=by_id(SCRIPTED[form]), output_schema=schema)

    live = [event async for event in client.stream(spec)]
    again = [event async for event in client.stream(spec, offset=3)]

    content = (await client.reply(live[-1].call))["content"]
    assert content["title"].replace("```", "") == "Cranes"
    assert "".join(each.delta.text for each in live) == text
    assert "".join(each.delta.text for each in again) == text[3:]
    assert len(scripted.requests(client.word)) == 1


async def test_bytes_that_are_no_utf8_are_counted(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    piece = CHAT.delta("a?b \ufffd").encode().replace(b"a?b", b"a\xe4b")
    piece = piece.replace(b"\\ufffd", "\ufffd".encode())
    scripted.script(client.word, Reply((piece, CHAT_END)))

    done = await client.generate(client.spec(model=by_id(SCRIPTED["chat"])))

    assert (await client.reply(done.call))["content"] == "a\ufffdb \ufffd"
    assert done.call.summary == "5 characters, 1 character unreadable"


async def test_half_a_character_in_json_is_counted(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, Reply((CHAT.delta("a\ud83db"), CHAT_END)))

    done = await client.generate(client.spec(model=by_id(SCRIPTED["chat"])))

    assert done.call.summary == "3 characters, 1 character unreadable"


async def test_a_server_that_says_nothing_after_the_end_is_not_waited_for_long(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    async def ask(form: str) -> str:
        run = await client.for_tenant(client.tenant_id)
        scripted.script(run.word, Reply((until_end(form), Pause(40))))
        done = await run.generate(run.spec(model=by_id(SCRIPTED[form])), seconds=35)
        return (await run.reply(done.call))["content"]

    # At once, since each takes ten seconds. Responses end with an event.
    assert await asyncio.gather(*map(ask, ("claude", "chat", "gemini"))) == [HI] * 3


@pytest.mark.parametrize("form", STREAMS)
async def test_a_stream_that_stops_short_in_good_order_is_no_reply(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    stream = STREAMS[form]
    scripted.script(client.word, Reply((stream.began(), stream.delta(HI))))

    refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED[form])))

    assert refused.reason == "REPLY_INVALID"
    (attempt,) = (await client.get_call()).attempts
    assert attempt.estimated
    assert attempt.cost_micro_usd > 0
