"""One judged time: a load, what is done to the processes meanwhile, and what became of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from bench.kills.logs import judge_logs
from bench.kills.verdicts import Verdicts
from bench.restarts.bare_client import BareClient
from bench.restarts.load import Load
from bench.restarts.questions import LAST, NOTE, PIPELINE, PROMPTS, SPEC, Questions
from nagaya.runs.v1 import prompt_service_pb2, run_service_pb2
from nagaya_client.paging import pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bench.restarts.installation import Installation
    from nagaya_client.client import Client

_QUIET_SECONDS = 2.0
"""Of load before and after what is done to the processes."""
_REPORT_SECONDS = 10.0


async def judge(
    made: Installation,
    folder: Path,
    title: str,
    disturb: Callable[[Load], Awaitable[None]],
    *,
    calls: int,
    rate: float,
) -> int:
    """Load an installation while `disturb` runs and until enough was called; print what was found.

    Returns how many promises were broken.
    """
    async with made.client() as client, BareClient(made.addresses, made.token) as bare:
        questions = await _prepare(client)
        load = Load(client, bare, questions, folder, rate)
        load.runs.add(questions.run_id)
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            reporter = tasks.create_task(_report(load, began))
            try:
                await asyncio.sleep(_QUIET_SECONDS)
                await disturb(load)
                while load.answered < calls and not load.failed:  # noqa: ASYNC110 - it counts
                    await asyncio.sleep(1)
                await asyncio.sleep(_QUIET_SECONDS)
            finally:
                load.stop()
                reporter.cancel()
        verdicts = Verdicts()
        verdicts.note("seconds", f"{time.monotonic() - began:.0f}")
        await _judge_load(verdicts, load, client, questions)
    _judge_processes(verdicts, made)
    print(verdicts.table(title), flush=True)
    return verdicts.violations


async def _prepare(client: Client) -> Questions:
    """Make a tenant with a pipeline and one run that has ended."""
    tenant_id = await create_tenant(client, "restarts")
    for step, content in {**PROMPTS, NOTE: "A note."}.items():
        await create_prompt(client, tenant_id, step, content)
    await create_pipeline(client, tenant_id, PIPELINE, SPEC)
    run_id = await create_run(client, tenant_id, PIPELINE, {"topic": "the first"})
    await finish(client, tenant_id, run_id)
    questions = Questions(tenant_id, run_id, "")
    listed = await client.runs.ListRunSteps(
        run_service_pb2.ListRunStepsRequest(tenant_id=tenant_id, run_id=run_id)
    )
    (questions.path,) = (step.output.output_path for step in listed.run_steps if step.step == LAST)
    return questions


async def _judge_load(verdicts: Verdicts, load: Load, client: Client, questions: Questions) -> None:
    verdicts.note("unary calls answered", f"{load.answered:,}")
    verdicts.none("unary calls that failed", load.failed)
    verdicts.note("calls of a client that repeats nothing", f"{load.bare_calls:,}")
    for code, times in load.bare_failed.most_common():
        verdicts.note(f"  of these failed: {code}", times)
    verdicts.note("runs", len(load.runs))
    verdicts.none("runs that did not end well", load.wrong_runs)
    for code, times in load.watches_resumed.most_common():
        verdicts.note(f"watches resumed after {code}", times)
    verdicts.none("watches with a gap, or an event twice", load.watch_gaps)
    tenant_id = questions.tenant_id
    of_tenant = run_service_pb2.ListRunsRequest(tenant_id=tenant_id, page_size=200)
    listed = {
        run.run_id async for page in pages(client.runs.ListRuns, of_tenant) for run in page.runs
    }
    verdicts.none("runs that nobody was told of", listed - load.runs)
    of_note = prompt_service_pb2.ListPromptVersionsRequest(
        tenant_id=tenant_id, step=NOTE, page_size=200
    )
    versions = {
        version.version
        async for page in pages(client.prompts.ListPromptVersions, of_note)
        for version in page.prompt_versions
    }
    verdicts.note("prompt versions created", len(load.notes))
    verdicts.none("prompt versions that nobody was told of", versions - {1} - load.notes.keys())
    twice = [version for version, times in load.notes.items() if times > 1]
    verdicts.none("prompt versions that two requests were told of", twice)


def _judge_processes(verdicts: Verdicts, made: Installation) -> None:
    replicas = [replica for pair in made.replicas.values() for replica in pair]
    codes = [(replica.name, code) for replica in replicas for code in replica.exit_codes]
    verdicts.note("processes ended by SIGTERM", len(codes))
    verdicts.none("  that did not end with 0", [each for each in codes if each[1]])
    verdicts.none("processes that ended by themselves", [r.name for r in replicas if r.ended])
    judge_logs(verdicts, [replica.log for replica in replicas], made.layout.log("postgres"))


async def _report(load: Load, began: float) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        seconds = time.monotonic() - began
        print(
            f"  {seconds:4.0f} s  {load.answered:,} calls, {len(load.failed)} failed,"
            f" {len(load.runs)} runs; {load.happened}",
            flush=True,
        )
