"""Answers of a key management service, however they arrive."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from tenant.key_management.http import JsonCaller


async def test_an_answer_that_comes_in_parts_is_read_to_its_end() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b'{"plaintext": ', b'"c2Vj', b'cmV0"}'):
            await response.write(part)
            await asyncio.sleep(0.05)  # so that each part is a packet of its own
        return response

    app = web.Application()
    app.router.add_post("/decrypt", answer)
    caller = JsonCaller("a service")
    async with TestServer(app) as server:
        found = await caller.post(str(server.make_url("/decrypt")), b"{}", {})
        await caller.close()

    assert found == (200, {"plaintext": "c2VjcmV0"})
