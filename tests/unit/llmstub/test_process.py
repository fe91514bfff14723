"""The stub as a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.unit.llmstub.provider_client import KEYS, ProviderClient, request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

FAST = ("--latency-ms", "0", "--chunk-ms", "0")


@asynccontextmanager
async def running(*options: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmstub", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(await process.stdout.readline())["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_process_serves_until_it_is_stopped(tmp_path: Path) -> None:
    calls = tmp_path / "folder" / "calls.jsonl"
    async with (
        running("--calls-file", str(calls), *FAST) as (process, url),
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{url}/healthz") as reply:
            assert (reply.status, await reply.json()) == (200, {"status": "ok"})
        assert (await ProviderClient(session, url).generate("claude")).status == 200
        process.terminate()
        assert await process.wait() == 0

    assert len(calls.read_text().splitlines()) == 2


async def test_what_was_logged_survives_a_kill(tmp_path: Path) -> None:
    calls, script = tmp_path / "calls.jsonl", tmp_path / "script.json"
    script.write_text('{"rules": [{"match": {"nth": 2}, "action": {"kind": "hang"}}]}')
    options = ("--calls-file", str(calls), "--script", str(script), *FAST)
    async with aiohttp.ClientSession() as session:
        async with running(*options) as (process, url):
            client = ProviderClient(session, url)
            await client.generate("claude")
            pending = asyncio.create_task(client.generate("chat"))
            query = {"outcome": "open", "at_least": "1", "wait_ms": "5000"}
            async with session.get(f"{url}/stub/calls", params=query) as reply:
                assert (await reply.json())["count"] == 1
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(pending, return_exceptions=True)
        events = [json.loads(line)["event"] for line in calls.read_text().splitlines()]
        assert events == ["begin", "end", "begin"]

        async with running(*options) as (_, url), session.get(f"{url}/stub/calls") as reply:
            found = (await reply.json())["calls"]
            assert [call["outcome"] for call in found] == ["ok", "lost"]


async def test_one_seed_says_the_same_in_two_processes_and_another_something_else() -> None:
    async def reply(seed: str) -> bytes:
        async with running("--seed", seed, *FAST) as (_, url), aiohttp.ClientSession() as session:
            return (await ProviderClient(session, url).generate("gemini")).body["candidates"]

    same, again, other = await asyncio.gather(reply("1"), reply("1"), reply("2"))
    assert same == again
    assert same != other


async def test_only_the_listed_keys_are_accepted(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sk-one\nsk-two\n")
    async with (
        running("--keys", str(keys), *FAST) as (_, url),
        aiohttp.ClientSession() as session,
    ):
        client = ProviderClient(session, url)
        path, _, body = request("chat")
        listed = await client.post(path, "none", body, {"Authorization": "Bearer sk-two"})
        unlisted = await client.post(path, "none", body, KEYS["openai"])
        _, _, body = request("gemini")
        in_query = await client.post("/v1/models/m:generateContent?key=sk-one", "none", body)

        assert (listed.status, unlisted.status, in_query.status) == (200, 401, 200)
        assert unlisted.body["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "nowhere"), "--listen"),
        (("--keys", "/does/not/exist"), "--keys"),
        (("--latency-ms", "-1"), "--latency-ms"),
        (("--script", "/does/not/exist"), "/does/not/exist"),
    ],
)
def test_wrong_options_are_named(options: tuple[str, ...], words: str) -> None:
    assert words in failure(*options)


def test_a_wrong_script_is_named(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"action": {"kind": "explode"}}]')

    assert "explode" in failure("--script", str(script))


def test_a_busy_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        assert address in failure("--listen", address)


def failure(*options: str) -> str:
    command = [sys.executable, "-m", "llmstub", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr
