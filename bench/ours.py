"""Our gateway as a target of load: a tenant, a run, the mock as its provider, calls to be made."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.load import Target
from bench.stack import create_tenant
from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    catalog_service_pb2,
    generation_pb2,
    generation_service_pb2,
    model_pb2,
)
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_service_pb2
from nagaya_local.supervisor.provider_addresses import CATALOG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.mock import Mock
    from bench.stack import Stack
    from nagaya_client.client import Client

TENANT = "bench"
MODEL = "gpt-6.2-sol"
PROMPT_CHARACTERS = 600
_SERVICE = "/nagaya.llm_gateway.v1.GenerationService"
_ITEMS = 1_000_000
Kind = Literal["grpc", "stream"]


def prompt(number: int) -> str:
    """Return a prompt that no other call has."""
    return f"call {number:09} ".ljust(PROMPT_CHARACTERS, "x")


async def ask_mock(nagaya: Client, mock: Mock) -> None:
    """Let the mock play OpenAI from now on."""
    provider = model_pb2.Provider(
        provider_id="openai",
        display_name="Mock",
        api_base_url=mock.stream_url,
        active=True,
        wire_format=model_pb2.WIRE_FORMAT_OPENAI_CHAT,
    )
    request = catalog_service_pb2.SetProviderRequest(provider=provider)
    await nagaya.catalog.SetProvider(request)
    await asyncio.sleep(CATALOG_SECONDS)


async def held_run(nagaya: Client, tenant_id: str = TENANT) -> str:
    """Create the tenant, and a run that is not started: its calls and files are people's."""
    await create_tenant(nagaya, tenant_id)
    step = pipeline_pb2.StepSpec(
        step="nothing", function=pipeline_pb2.FunctionStep(function="constant", short=True)
    )
    await nagaya.pipelines.CreatePipelineVersion(
        pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=tenant_id,
            request_id="bench",
            pipeline="nothing",
            spec=pipeline_pb2.PipelineSpec(steps=[step]),
        )
    )
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="nothing", hold=True
    )
    return (await nagaya.runs.CreateRun(request)).run.run_id


@dataclass(slots=True)
class OurCalls:
    """The gateway's calls; every one has a key of its own."""

    stack: Stack
    run_id: str
    answered: int = 0
    """How many were answered."""
    _prepared: int = 0

    def target(self, kind: Kind) -> Target:
        method = "Generate" if kind == "grpc" else "StreamGenerate"
        headers = {"authorization": f"Bearer {self.stack.token}"}
        return Target(kind, self.stack.address("llm-gateway"), f"{_SERVICE}/{method}", headers)

    def requests(self, kind: Kind) -> Callable[[int], list[bytes]]:
        """Return what prepares so many requests of a kind."""

        def prepare(count: int) -> list[bytes]:
            numbers = range(self._prepared, self._prepared + count)
            self._prepared += count
            return [self._request(kind, number) for number in numbers]

        return prepare

    async def check(self, nagaya: Client) -> None:
        """Raise RuntimeError unless the ledger holds every call that was answered, and no other."""
        request = call_service_pb2.SummarizeUsageRequest(tenant_id=TENANT, run_ids=[self.run_id])
        (usage,) = (await nagaya.calls.SummarizeUsage(request)).run_usages
        if usage.calls != self.answered or usage.open_calls:
            raise RuntimeError(
                f"{self.answered} calls were answered, the ledger holds {usage.calls}, "
                f"{usage.open_calls} of them open"
            )

    def _request(self, kind: Kind, number: int) -> bytes:
        key = call_pb2.CallKey(
            run_id=self.run_id,
            step="input",
            item=number % _ITEMS,
            visit=1,
            call=1 + number // _ITEMS,
        )
        part = generation_pb2.Part(text=prompt(number))
        spec = generation_pb2.GenerationSpec(
            key=key,
            messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[part])],
            model=model_pb2.ModelChoice(model_id=MODEL),
            max_output_tokens=2000,
        )
        if kind == "stream":
            request = generation_service_pb2.StreamGenerateRequest(tenant_id=TENANT, spec=spec)
        else:
            request = generation_service_pb2.GenerateRequest(
                tenant_id=TENANT, spec=spec, include_reply=True
            )
        return request.SerializeToString()
