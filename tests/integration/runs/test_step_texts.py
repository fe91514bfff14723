"""What a model answers a step with, from llm-gateway to whoever watches it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from tests.support.runs_client import reason
from tests.support.runs_peers import PlayedCall
from tests.support.runs_worker import COPY

from nagaya.runs.v1 import run_pb2, run_service_pb2
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    from tests.support.runs_client import RunsClient
    from tests.support.runs_peers import FakeLlmGateway
    from tests.support.runs_worker import RunsWorker

    from runs.domain.activities import StepRef

NO_RUN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def work(worker: RunsWorker) -> StepRef:
    """A step `copy` of a run that is running; the step has not begun."""
    return await worker.begin(COPY)


async def parts(
    client: RunsClient, run_id: str, step: str = "copy", **fields: int
) -> AsyncGenerator[str | run_pb2.RunStep]:
    """Yield pieces of text with their attempt, then the step."""
    request = run_service_pb2.WatchStepTextRequest(
        tenant_id="acme", run_id=run_id, step=step, **fields
    )
    async for response in client.runs.WatchStepText(request):
        if response.WhichOneof("part") == "text":
            yield f"{response.text.attempt}: {response.text.text}"
        elif response.WhichOneof("part") == "step":
            yield response.step
        else:
            yield "heartbeat"


async def end(worker: RunsWorker, database: asyncpg.Connection) -> None:
    """Have the step done, with its event, as its worker does."""
    assert (await worker.run()).output_path


async def test_a_text_is_seen_as_it_grows_and_then_the_step(
    worker: RunsWorker,
    work: StepRef,
    client: RunsClient,
    models: FakeLlmGateway,
    database: asyncpg.Connection,
) -> None:
    async with aclosing(parts(client, work.run_id)) as found:
        assert await anext(found) == "heartbeat"  # the step has not begun
        call = models.calls["copy", 0, 1] = PlayedCall(text="Once ")
        assert await worker.service.journal.begin(work) is not None
        assert await _next(found) == "1: Once "
        call.grow("upon")
        assert await _next(found) == "1: upon"
        call.grow("Another", attempt=2)
        assert await _next(found) == "2: Another"
        call.end()
        await worker.run()
        done = await _next(found)

    assert isinstance(done, run_pb2.RunStep)
    assert done.state == run_pb2.STEP_STATE_COMPLETED
    assert "Another" not in str(await database.fetch("SELECT * FROM run_events"))


async def test_a_watch_goes_on_where_it_stopped(
    worker: RunsWorker, work: StepRef, client: RunsClient, models: FakeLlmGateway
) -> None:
    models.calls["copy", 0, 1] = PlayedCall(text="Once upon a time", ended=True)
    await worker.run()

    async def texts(**fields: int) -> list[str]:
        found = [part async for part in parts(client, work.run_id, "copy", **fields)]
        return [part for part in found if isinstance(part, str)]

    assert await texts() == ["1: Once upon a time"]
    assert await texts(offset=5, attempt=1) == ["1: upon a time"]
    assert await texts(offset=99, attempt=1) == []
    assert await texts(offset=5, attempt=7) == ["1: Once upon a time"]


async def test_a_step_without_a_call_ends_without_a_text(
    worker: RunsWorker, work: StepRef, client: RunsClient
) -> None:
    watching = asyncio.create_task(_all(client, work.run_id))
    await asyncio.sleep(0)
    await worker.run()

    found = await watching
    assert [type(part) for part in found if part != "heartbeat"] == [run_pb2.RunStep]


@pytest.mark.parametrize(
    ("run_id", "step", "item", "expected"),
    [
        (NO_RUN, "copy", 0, "RUN_NOT_FOUND"),
        ("", "misspelt", 0, "STEP_NOT_FOUND"),
        ("", "copy", 7, "STEP_NOT_FOUND"),
    ],
    ids=["no run", "no such step", "no such element"],
)
async def test_what_there_is_not_cannot_be_watched(
    worker: RunsWorker,
    work: StepRef,
    client: RunsClient,
    run_id: str,
    step: str,
    item: int,
    expected: str,
) -> None:
    await worker.walk("copy")  # to the end of the run

    with pytest.raises(DomainError) as refusal:
        await _all(client, run_id or work.run_id, step, item=item)
    assert reason(refusal) == expected


async def _all(
    client: RunsClient, run_id: str, step: str = "copy", **fields: int
) -> list[str | run_pb2.RunStep]:
    return [part async for part in parts(client, run_id, step, **fields)]


async def _next(found: AsyncGenerator[str | run_pb2.RunStep]) -> str | run_pb2.RunStep:
    async with asyncio.timeout(50):
        while (part := await anext(found)) == "heartbeat":
            pass
    return part
