"""The reply to a call arrives whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import Refusal

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya_client.cli.main import run
from nagaya_client.errors import ApiError, BytesCorrupt

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

    from nagaya_client.client import Client

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
BODY = json.dumps({"content": "Cranes and 鶴."}, ensure_ascii=False).encode()
KEY = call_pb2.CallKey(run_id=RUN_ID, step="draft", item=3, visit=1, call=2)
CALL = call_pb2.Call(key=KEY, output_digest=hashlib.sha256(BODY).hexdigest())
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "", reason="")


def sent(*parts: bytes | Refusal) -> list[call_service_pb2.GetReplyResponse | Refusal]:
    data = [
        part if isinstance(part, Refusal) else call_service_pb2.GetReplyResponse(data=part)
        for part in parts
    ]
    return [call_service_pb2.GetReplyResponse(call=CALL), *data]


async def test_a_reply_comes_in_parts_and_a_stream_that_breaks_is_begun_anew(
    api: Api, client: Client
) -> None:
    answers = [sent(BODY[:5], BROKEN), sent(BODY[:7], BODY[7:])]
    api.on("GetReply", lambda _: answers.pop(0))

    assert await client.reply("acme", KEY) == BODY
    assert [call.request.key for call in api.calls] == [KEY, KEY]


@pytest.mark.parametrize("bad", [BODY[:-1], BODY + b"x", b""], ids=["short", "long", "nothing"])
async def test_bytes_of_another_digest_are_refused(api: Api, client: Client, bad: bytes) -> None:
    api.on("GetReply", sent(bad))

    with pytest.raises(BytesCorrupt):
        await client.reply("acme", KEY)


async def test_a_refusal_is_not_repeated(api: Api, client: Client) -> None:
    api.on("GetReply", Refusal(grpc.StatusCode.NOT_FOUND))

    with pytest.raises(ApiError):
        await client.reply("acme", KEY)
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("options", "content", "shown"),
    [
        ((), "Cranes and 鶴.", BODY),
        (("--raw",), "Cranes and 鶴.", "Cranes and 鶴.\n".encode()),
        (("-r",), {"a": ["鶴"]}, '{"a": ["鶴"]}\n'.encode()),
    ],
    ids=["whole", "text", "json"],
)
def test_the_command_writes_a_reply(
    api: Api,
    here: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    options: tuple[str, ...],
    content: object,
    shown: bytes,
) -> None:
    body = json.dumps({"content": content}, ensure_ascii=False).encode()
    call = call_pb2.Call(output_digest=hashlib.sha256(body).hexdigest())
    head = call_service_pb2.GetReplyResponse(call=call)
    api.on("GetReply", [head, call_service_pb2.GetReplyResponse(data=body)])
    key = ("--item", "3", "--call", "2", "--tenant", "acme")

    assert run(["call", "reply", RUN_ID, "draft", *key, *options]) == 0

    assert capfdbinary.readouterr().out == shown
    assert api.calls[0].request.key == KEY
