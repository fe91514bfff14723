"""A provider that counts: `python -m bench.kills.provider PORT LOG`.

It speaks Claude Messages. Every request is a line of its log, whole and written before anything is
answered; every reply is another line, with the digest of its text and whether all of it was sent.
The lines are written straight to the file, so they outlive a kill of this process too.

What a reply is like is asked for in the prompt, `kills[size=47000 delay=40 fail=1]`: characters,
milliseconds until it is whole, and whether the first request of a key is refused with 529.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from typing import Any, TypeAlias

from aiohttp import web

Json: TypeAlias = Any  # a request's body

CALL_HEADER = "x-nagaya-call"
_WISHES = re.compile(r"kills\[([a-z0-9= ]*)\]")
_PIECE = 4000


class Log:
    """Lines of JSON in a file; a line that was written is there, whoever is killed next."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **fields: object) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")


class CountingProvider:
    """Answers requests, and counts them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._serial = 0
        self._refused: set[str] = set()

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        call = request.headers.get(CALL_HEADER, "")
        body = await request.json()
        self._serial += 1
        serial = self._serial
        self._log.write(event="asked", serial=serial, call=call, body=body)
        wishes = _wishes(body)
        key = call.rpartition("/")[0]
        if wishes.get("fail") and key not in self._refused:
            self._refused.add(key)
            error = {"type": "overloaded_error", "message": "overloaded"}
            self._log.write(event="refused", serial=serial, call=call)
            return web.json_response({"type": "error", "error": error}, status=529)
        return await self._reply(request, serial, call, body, wishes)

    async def _reply(
        self, request: web.Request, serial: int, call: str, body: Json, wishes: dict[str, int]
    ) -> web.StreamResponse:
        text = _text(serial, call, wishes.get("size", 100), structured="output_config" in body)
        pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
        usage = {"input_tokens": len(json.dumps(body)) // 4, "output_tokens": len(text) // 4 + 1}
        digest = hashlib.sha256(text.encode()).hexdigest()
        # Before a byte of it is sent: who is charged does not depend on who listens.
        self._log.write(event="replied", serial=serial, call=call, digest=digest, usage=usage)
        pause = wishes.get("delay", 0) / 1000 / (len(pieces) + 1)
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "request-id": f"req-{serial}"}
        )
        await asyncio.sleep(pause)
        await response.prepare(request)
        started = {"id": f"msg-{serial}", "usage": usage | {"output_tokens": 1}}
        events: list[dict[str, object]] = [{"type": "message_start", "message": started}]
        events.append({"type": "content_block_start", "index": 0, "content_block": _block("")})
        for piece in pieces:
            delta = {"type": "text_delta", "text": piece}
            events.append({"type": "content_block_delta", "index": 0, "delta": delta})
            if pause:
                await response.write(_encoded(events))
                events.clear()
                await asyncio.sleep(pause)
        ended = {"stop_reason": "end_turn"}
        events.append({"type": "message_delta", "delta": ended, "usage": usage})
        events.append({"type": "message_stop"})
        await response.write(_encoded(events))
        await response.write_eof()
        return response


def _wishes(body: Json) -> dict[str, int]:
    found = _WISHES.search(json.dumps(body["messages"]))
    words = found.group(1).split() if found else []
    return {name: int(value) for name, value in (word.split("=") for word in words)}


def _text(serial: int, call: str, size: int, *, structured: bool) -> str:
    """Return a text that no other request gets; hexadecimal digits fill it up."""
    text = f"reply {serial} to {call} "
    text += hashlib.shake_256(text.encode()).hexdigest(max(0, size - len(text)) // 2)
    return json.dumps({"serial": serial, "text": text}) if structured else text


def _block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _encoded(events: list[dict[str, object]]) -> bytes:
    lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return "".join(lines).encode()


def main(port: int, log: str) -> None:
    application = web.Application(client_max_size=64 << 20)
    application.router.add_post("/v1/messages", CountingProvider(Log(log)).messages)
    web.run_app(application, host="127.0.0.1", port=port, print=_say_ready, access_log=None)


def _say_ready(_: str) -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
