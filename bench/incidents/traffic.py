"""Runs that begin all the time, and calls that read them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.support.public_api import create_pipeline, create_prompt, create_run, create_tenant

from nagaya.runs.v1 import run_service_pb2
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from nagaya_client.client import Client

WORD = "incident"
"""Stands in every prompt, so that the stub knows the calls."""

PIPELINE, QUESTION = "answers", {"question": "why?"}
_SPEC: dict[str, Any] = {
    "steps": [
        {
            "step": "answer",
            "needs": ["input"],
            "llm": {
                "bindings": [{"variable": "question", "output": {"step": "input"}}],
                "model": {"model_id": "claude-sonnet-5-5"},
                "max_output_tokens": 200,
            },
            "retry": {"max_attempts": 3, "backoff": "1s"},
        }
    ]
}
_PAUSE_SECONDS = 1.0


async def prepare(client: Client, word: str = WORD) -> str:
    """Create a tenant with a pipeline that asks a model, with this word; return its id."""
    tenant_id = await create_tenant(client, "incident")
    await create_prompt(client, tenant_id, "answer", f"{word} {{{{question}}}}")
    await create_pipeline(client, tenant_id, PIPELINE, _SPEC)
    return tenant_id


@asynccontextmanager
async def runs(client: Client, tenant_id: str) -> AsyncGenerator[None]:
    """Create a run every second inside the block."""

    async def one() -> None:
        await create_run(client, tenant_id, PIPELINE, QUESTION)
        await asyncio.sleep(_PAUSE_SECONDS)

    async with _repeated(one, 1):
        yield


@asynccontextmanager
async def reads(client: Client, tenant_id: str, at_once: int) -> AsyncGenerator[None]:
    """List the tenant's runs inside the block, so many calls at once."""

    async def one() -> None:
        await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
        await asyncio.sleep(_PAUSE_SECONDS)

    async with _repeated(one, at_once):
        yield


@asynccontextmanager
async def _repeated(
    call: Callable[[], Coroutine[Any, Any, None]], at_once: int
) -> AsyncGenerator[None]:
    async def forever() -> None:
        while True:
            try:
                await call()
            except Exception:  # what is broken refuses: that is the incident
                await asyncio.sleep(_PAUSE_SECONDS)

    tasks = [asyncio.create_task(forever()) for _ in range(at_once)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(DomainError):
            await asyncio.gather(*tasks, return_exceptions=True)
