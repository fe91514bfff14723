"""LangSmith is sent nothing of what the worker does, whatever the environment says."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.test_function_calls import worker_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from servicekit.testing import Keys

CLONE = Path(__file__).parents[3]
TRACING_VARIABLES = ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2")


@asynccontextmanager
async def langsmith(requests: list[bytes]) -> AsyncGenerator[str]:
    """A server that notes the first line of what it is sent, and answers that it is well."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def walk(keys: Keys, how: str, variable: str) -> tuple[str, list[bytes]]:
    """Walk a plan in a process of its own; return what it did, and what LangSmith was sent."""
    requests: list[bytes] = []
    async with langsmith(requests) as address:
        tracing = {variable: "true", "LANGSMITH_ENDPOINT": address, "LANGSMITH_API_KEY": "key"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.runs.plan_process", how),
            env={**os.environ, **worker_settings(keys), **tracing, "PYTHONPATH": str(CLONE)},
            stdout=asyncio.subprocess.PIPE,
        )
        done, _ = await process.communicate()
    return done.decode(), requests


@pytest.mark.parametrize("variable", [*TRACING_VARIABLES, "LANGCHAIN_TRACING"])
async def test_a_worker_sends_no_trace_to_langsmith(keys: Keys, variable: str) -> None:
    assert await walk(keys, "as-the-worker", variable) == ("a\nb\n", [])


@pytest.mark.parametrize("variable", TRACING_VARIABLES)
async def test_langgraph_alone_would_send_them(keys: Keys, variable: str) -> None:
    done, requests = await walk(keys, "as-langgraph-does", variable)

    assert done == "a\nb\n"
    assert any(b"/runs" in request for request in requests)
