"""The stub of LLM providers in a process of its own, and its control endpoint."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.support.processes import Process
from tests.support.waiting import fewer_run, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Json: TypeAlias = Any


class StubControl:
    """The control endpoint of a stub that runs: its call log, and what it does to which calls."""

    def __init__(self, url: str) -> None:
        self.url = url

    def calls(self, run_id: str = "") -> list[dict[str, Json]]:
        """Return the generate calls made for a run, or for all, oldest first."""
        answer = self._request("GET", "/stub/calls?kind=generate")
        return [c for c in answer["calls"] if (c["idempotency"] or "").startswith(run_id)]

    def script(self, contains: str, action: Mapping[str, object], **rule: object) -> str:
        """Let calls whose prompt contains a word meet a fault; return the rule's name."""
        name = secrets.token_hex(6)
        match = {"contains": contains, **{k: rule.pop(k) for k in ("nth",) if k in rule}}
        rules = [{"name": name, "match": match, "action": dict(action), **rule}]
        self._request("POST", "/stub/script", rules)
        return name

    async def wait_until_held(self, rule: str, *asked: asyncio.Future[Any], count: int = 1) -> None:
        """Return when so many calls are held by a rule.

        Fails the test at once when too few of the tasks that make the calls still run.
        """

        async def held() -> bool:
            answer = await asyncio.to_thread(self._request, "GET", "/stub/script")
            return any(each["name"] == rule and each["held"] >= count for each in answer["rules"])

        await wait_until(held, unless=fewer_run(asked, count))

    async def wait_until_open(self, rule: str) -> None:
        """Return when the stub has begun a call that met a rule, and has not ended it."""
        wait = "at_least=1&wait_ms=20000"
        path = f"/stub/calls?outcome=open&rule={rule}&{wait}"
        assert (await asyncio.to_thread(self._request, "GET", path))["count"], f"none met {rule}"

    def release(self, rule: str) -> None:
        """Let the calls go on that are held by a rule."""
        self._request("POST", "/stub/release", {"rule": rule})

    def _request(self, method: str, path: str, body: object = None) -> dict[str, Json]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        read = json.load(answer)
        connection.close()
        assert answer.status == 200, read
        return read


class ProviderStub(Process, StubControl):
    """A stub that answers at once."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls.jsonl"
        command = [sys.executable, "-m", "llmstub", "--listen", "127.0.0.1:0"]
        command += ["--latency-ms", "0", "--chunk-ms", "0", "--log-bodies"]
        command += ["--calls-file", str(self.calls_file)]
        Process.__init__(self, "llmstub", command, folder / "llmstub.log", {})
        StubControl.__init__(self, "")

    def start(self) -> None:
        """Return when it serves."""
        super().start()
        self.url = json.loads(self.first_line())["url"]
