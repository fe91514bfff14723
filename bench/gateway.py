"""Time and CPU that the gateway adds to a call, beside the same call straight to the stub.

Calls of both kinds take turns, each waits for its reply; the stub answers at once. Ours goes
through Envoy, takes the key in the tenant's database, records the attempt, stores the reply in S3
by the artifacts service, settles and writes the audit log: all of it before the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from nagaya.llm_gateway.v1 import call_pb2, generation_pb2, generation_service_pb2, model_pb2
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import local_stack_settings
from nagaya_local.clone.endpoints import Endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CLONE = Path(__file__).parents[1]
TENANT = "bench-gateway"
PAIRS = 500
WARM = 30
AT_ONCE = 16
CALLS_AT_ONCE = 800
PROMPT_CHARACTERS = 600
REPLY = "A short paragraph about cranes, as a model would write it. " * 30
MODEL = "claude-sonnet-5-5"
PARTS = ("llm-gateway", "artifacts")
_TICKS = os.sysconf("SC_CLK_TCK")


class Bench:
    """The stub and the gateway, asked the same."""

    def __init__(self, nagaya: Client, session: aiohttp.ClientSession, stub_url: str) -> None:
        self._nagaya = nagaya
        self._session = session
        self._stub_url = stub_url
        self._run_id = ""
        self._count = 0
        self._prompt = f"bench-{secrets.token_hex(8)} ".ljust(PROMPT_CHARACTERS, "x")

    async def prepare(self) -> None:
        """Create a tenant and a run, and let the stub answer our prompts at once."""
        await self._nagaya.tenants.CreateTenant(
            tenant_service_pb2.CreateTenantRequest(
                tenant_id=TENANT, request_id=TENANT, name="Benchmark"
            )
        )
        step = pipeline_pb2.StepSpec(
            step="nothing", function=pipeline_pb2.FunctionStep(function="constant", short=True)
        )
        await self._nagaya.pipelines.CreatePipelineVersion(
            pipeline_service_pb2.CreatePipelineVersionRequest(
                tenant_id=TENANT,
                request_id="bench",
                pipeline="nothing",
                spec=pipeline_pb2.PipelineSpec(steps=[step]),
            )
        )
        created = await self._nagaya.runs.CreateRun(
            run_service_pb2.CreateRunRequest(
                tenant_id=TENANT, request_id=secrets.token_hex(8), pipeline="nothing", hold=True
            )
        )
        self._run_id = created.run.run_id
        rule = {
            "name": self._prompt.split()[0],
            "match": {"contains": self._prompt.split()[0]},
            "latency": {"first_token_ms": 0, "chunk_ms": 0},
            "action": {"kind": "reply", "text": REPLY},
        }
        async with self._session.post(f"{self._stub_url}/stub/script", json=[rule]) as response:
            response.raise_for_status()

    async def direct(self) -> float:
        """Ask the stub; return the seconds."""
        self._count += 1
        body = {
            "model": MODEL,
            "max_tokens": 2000,
            "messages": [{"role": "user", "content": f"{self._prompt}{self._count}"}],
            "stream": True,
        }
        headers = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}
        began = time.perf_counter()
        async with self._session.post(
            f"{self._stub_url}/v1/messages", json=body, headers=headers
        ) as response:
            await response.read()
        return time.perf_counter() - began

    async def gateway(self) -> float:
        """Ask the gateway; return the seconds."""
        self._count += 1
        part = generation_pb2.Part(text=f"{self._prompt}{self._count}")
        message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[part])
        key = call_pb2.CallKey(run_id=self._run_id, step="input", item=self._count, visit=1, call=1)
        request = generation_service_pb2.GenerateRequest(
            tenant_id=TENANT,
            spec=generation_pb2.GenerationSpec(
                key=key,
                messages=[message],
                model=model_pb2.ModelChoice(model_id=MODEL),
                max_output_tokens=2000,
            ),
        )
        began = time.perf_counter()
        await self._nagaya.generations.Generate(request)
        return time.perf_counter() - began

    async def pairs(self, count: int) -> list[tuple[float, float]]:
        return [(await self.direct(), await self.gateway()) for _ in range(count)]

    async def at_once(self) -> float:
        """Return how many calls a second the gateway settles when many ask."""

        async def client() -> None:
            for _ in range(CALLS_AT_ONCE // AT_ONCE):
                await self.gateway()

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        return CALLS_AT_ONCE / (time.perf_counter() - began)


async def main() -> None:
    stub_url = Endpoints.read(CLONE / "var/dev/endpoints.env").llmstub_url
    async with _bench(stub_url) as bench:
        await bench.prepare()
        await bench.pairs(WARM)
        before = _cpu()
        pairs = await bench.pairs(PAIRS)
        cpu_seconds = {part: seconds - before[part] for part, seconds in _cpu().items()}
        rate = await bench.at_once()
    direct, ours = ([1000 * pair[n] for pair in pairs] for n in (0, 1))
    added = [b - a for a, b in zip(direct, ours, strict=True)]
    for name, values in (("direct", direct), ("gateway", ours), ("added", added)):
        middle, tail = _percentile(values, 50), _percentile(values, 99)
        print(f"{name:8} p50 {middle:6.1f} ms   p99 {tail:6.1f} ms")
    for part, seconds in cpu_seconds.items():
        print(f"CPU a call, {part}: {1000 * seconds / PAIRS:.2f} ms")
    print(f"{AT_ONCE} at once: {rate:.0f} calls/s settled")


@asynccontextmanager
async def _bench(stub_url: str) -> AsyncGenerator[Bench]:
    async with (
        Client.connect(local_stack_settings(CLONE)) as nagaya,
        aiohttp.ClientSession() as session,
    ):
        yield Bench(nagaya, session, stub_url)


def _cpu() -> dict[str, float]:
    """Return the CPU seconds that each part has used, user and system."""
    pids = json.loads((CLONE / "var/dev/pids.json").read_text())
    fields = {part: Path(f"/proc/{pids[part]}/stat").read_text().split() for part in PARTS}
    return {part: (int(stat[13]) + int(stat[14])) / _TICKS for part, stat in fields.items()}


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    asyncio.run(main())
