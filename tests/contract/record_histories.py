"""`make histories`: records the histories that the next release must be able to replay.

Each is what Temporal keeps of a run of one kind. The workers record instead of doing anything,
and are called RECORDED, so that a history holds no body and names no machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from google.protobuf.json_format import ParseDict
from temporalio.client import WorkflowFailureError
from tests.integration.runs.recording_worker import RecordedActivities, connect, start, worker

from nagaya.runs.v1 import pipeline_pb2
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.temporal import TemporalServer
from runs.domain.plan import WORKFLOW_VERSION, Plan, PlanStep
from runs.wire.pipelines import pipeline_spec
from runs.worker.scheduling import MAX_ITEMS_AT_ONCE
from runs.worker.superseded.workflows import ITEMS_IN_CHILD, ITEMS_IN_OLD_CHILD

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).parent / "histories"
ROOT = Path(__file__).parents[2]
RECORDED = "recorded"

SHORT_CHAIN = Plan(
    (
        PlanStep("a", "function", short=True),
        PlanStep("b", "function", ("a",), short=True),
        PlanStep("c", "function", ("a",), short=True),
        PlanStep("d", "function", ("b", "c"), short=True, map_step="a"),
    )
)
LONG_MAP = Plan((PlanStep("a"), PlanStep("long", "function", ("a",), short=True, map_step="a")))
SKIPPED = Plan(
    (
        PlanStep("a"),
        PlanStep("skipped", needs=("a",), has_when=True),
        PlanStep("skipped-map", needs=("a",), map_step="a", has_when=True),
        PlanStep("last", needs=("skipped", "skipped-map")),
    )
)
FAILED = Plan(
    (
        PlanStep("a"),
        PlanStep("broken", needs=("a",)),
        PlanStep("endless", needs=("a",), map_step="a"),
        PlanStep("endless-too", needs=("a",)),
        PlanStep("last", needs=("broken", "endless", "endless-too")),
    )
)
CANCELLED = Plan(
    (PlanStep("endless"), PlanStep("endless-too"), PlanStep("last", needs=("endless",)))
)
KILLED = Plan((PlanStep("a"), PlanStep("fatal", needs=("a",)), PlanStep("b", needs=("fatal",))))


def article() -> Plan:
    """Return the plan of the pipeline of examples/article."""
    spec = yaml.safe_load((ROOT / "examples" / "article" / "pipeline.yaml").read_text())
    del spec["pipeline"]
    return Plan.of(pipeline_spec(ParseDict(spec, pipeline_pb2.PipelineSpec())))


async def record(address: str) -> AsyncGenerator[tuple[str, WorkflowHistory]]:
    """Run one run of each kind; send its name and its history."""
    for name, plan, version in (
        ("article", article(), WORKFLOW_VERSION),
        ("short-steps", SHORT_CHAIN, WORKFLOW_VERSION),
        ("short-steps-begun-apart", SHORT_CHAIN, 1),
        ("skipped", SKIPPED, WORKFLOW_VERSION),
        ("failed", FAILED, WORKFLOW_VERSION),
        ("cancelled", CANCELLED, WORKFLOW_VERSION),
    ):
        yield name, await _ended(address, plan, version, cancel=name == "cancelled")
    for name, length, version, part in (
        ("long-map", ITEMS_IN_OLD_CHILD + 1, 2, "201-201"),
        ("divided-map", MAX_ITEMS_AT_ONCE + 1, WORKFLOW_VERSION, "1-51"),
    ):
        async with worker(address, RecordedActivities(list_length=length), RECORDED) as client:
            handle = await start(client, LONG_MAP, version=version)
            await handle.result()
            yield name, await handle.fetch_history()
            child = client.get_workflow_handle(f"{handle.id}/long/{part}")
            yield f"{name}-part", await child.fetch_history()
    async with worker(
        address, RecordedActivities(list_length=ITEMS_IN_CHILD + 1), RECORDED
    ) as client:
        handle = await start(client, LONG_MAP)
        await handle.result()
        yield "very-long-map", await handle.fetch_history()
    yield "killed-worker", await _survived(address, KILLED)


async def _ended(address: str, plan: Plan, version: int, *, cancel: bool) -> WorkflowHistory:
    recorded = RecordedActivities()
    async with worker(address, recorded, RECORDED) as client:
        handle = await start(client, plan, version=version)
        if cancel:
            await recorded.endless_began.wait()
            await handle.cancel()
        try:
            await handle.result()
        except WorkflowFailureError:
            assert recorded.ends[-1].status in ("failed", "cancelled")
        return await handle.fetch_history()


async def _survived(address: str, plan: Plan) -> WorkflowHistory:
    """Return the history of a run whose first worker was killed in the middle of a step."""
    fatal = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.runs.killed_worker", address, RECORDED,
        cwd=ROOT,
    )  # fmt: skip
    handle = await start(await connect(address, RECORDED), plan)
    await fatal.wait()
    async with worker(address, RecordedActivities(), RECORDED):
        await handle.result()
        return await handle.fetch_history()


async def main() -> None:
    logging.disable(logging.WARNING)  # a step fails, as it is meant to
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.json"):
        file.unlink()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = TemporalServer(folder, free_port())
        async with running(server, folder / "temporal.log", seconds=120):
            async for kind, history in record(server.address):
                events = (json.dumps(event) for event in history.to_json_dict()["events"])
                lines = ",\n".join(events)
                (FOLDER / f"{kind}.json").write_text(f'{{"events": [\n{lines}\n]}}\n')
                sys.stdout.write(f"{kind}: {len(history.events)} events\n")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), 300))
