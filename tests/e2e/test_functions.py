"""Functions that are missing, and those that harm their process, beside those of another tenant."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.test_steps import function, run_steps
from tests.support.installed_functions import install_functions
from tests.support.notes import wait_for_notes
from tests.support.processes import wait_until_gone
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish, list_steps

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError
from nagaya_functions.testing import FunctionHarness

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

QUICKLY = {"backoff": "0.010s", "maxAttempts": 3}


@pytest.fixture
async def tenant_id(client: Client) -> str:
    return await create_tenant(client, "harm")


@pytest.mark.parametrize("short", [False, True])
async def test_a_function_that_ends_its_process_fails_its_own_step_and_no_other_tenants(
    stack: LocalStack, client: Client, tenant_id: str, tmp_path: Path, *, short: bool
) -> None:
    innocent = await create_tenant(client, "innocent")
    note, until = tmp_path / "note", tmp_path / "until"
    arguments = {"note": str(note), "until": str(until)}
    waits = function("wait", "test.waits", arguments=arguments, short=short)
    await create_pipeline(client, innocent, "test", {"steps": [waits]})
    runs = [await create_run(client, innocent, "test", None) for _ in range(3)]
    await wait_for_notes(note, 3)
    worker = json.loads(stack.layout.pids.read_text())["runs-worker"]
    exits = function("exits", "test.exits", arguments={"last_words": "of a customer"}, short=short)
    paths: set[str] = set()
    for _ in range(7):  # 21 deaths
        run, steps = await run_steps(client, tenant_id, exits | {"retry": QUICKLY})
        assert (run.error.step, run.error.reason) == ("exits", "FUNCTION_DIED")
        assert steps["exits", 0].retry_count == 2
        paths.add(run.error.error_path)
    until.touch()
    ended = [await finish(client, innocent, run_id) for run_id in runs]

    assert [run.state for run in ended] == [run_pb2.RUN_STATE_COMPLETED] * 3
    database = await stack.database(client, innocent)
    attempts = await database.fetch("SELECT status, reason FROM step_attempts")
    await database.close()
    assert [tuple(row) for row in attempts] == [("completed", None)] * 3
    assert len(await wait_for_notes(note, 3)) == 3, "nothing of theirs was done again"
    assert json.loads(stack.layout.pids.read_text())["runs-worker"] == worker
    errors = [json.loads(stack.file(path).read_text()) for path in paths]
    assert len(errors) == 7
    assert all("of a customer" in error["output"] for error in errors)


@pytest.mark.parametrize(
    ("name", "longest", "reason", "tries"),
    [("blocks", "1s", "STEP_TIMEOUT", 2), ("eats", "60s", "FUNCTION_OUT_OF_MEMORY", 1)],
)
async def test_a_function_that_blocks_or_eats_memory_fails_by_its_own_bounds(
    client: Client, tenant_id: str, name: str, longest: str, reason: str, tries: int
) -> None:
    retry = {"backoff": "0.010s", "maxAttempts": 2}
    step = function("harm", f"test.{name}") | {"timeout": longest, "retry": retry}
    run, steps = await run_steps(client, tenant_id, step)

    assert (run.error.step, run.error.reason) == ("harm", reason)
    assert steps["harm", 0].retry_count == tries - 1


async def test_a_fork_that_a_function_leaves_behind_does_not_hide_its_death(
    client: Client, tenant_id: str
) -> None:
    step = function("forks", "test.forks_and_exits") | {"timeout": "30s"}
    run, _ = await run_steps(client, tenant_id, step | {"retry": {"maxAttempts": 1}})

    assert (run.error.step, run.error.reason) == ("forks", "FUNCTION_DIED")


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("name", ["endless", "deaf", "blocks"])
async def test_a_cancelled_run_stops_its_function_whether_it_heeds_that_or_not(
    client: Client, tenant_id: str, tmp_path: Path, name: str, *, short: bool
) -> None:
    note = tmp_path / "note"
    step = function("wait", f"test.{name}", arguments={"note": str(note)}, short=short)
    await create_pipeline(client, tenant_id, "test", {"steps": [step]})
    run_id = await create_run(client, tenant_id, "test", None)
    ((_, process),) = await wait_for_notes(note, 1)
    request = run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
    await client.runs.CancelRun(request)
    if name == "endless":
        assert (await wait_for_notes(note, 2))[1] == ("ended", process)
    else:
        await wait_until_gone(process)
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_CANCELLED
    steps = await list_steps(client, tenant_id, run_id)
    assert {step.state for step in steps} <= {run_pb2.STEP_STATE_CANCELLED}
    assert len(await wait_for_notes(note, 1)) == (2 if name == "endless" else 1)


async def test_a_step_that_waits_an_hour_to_be_tried_again_can_be_cancelled(
    client: Client, tenant_id: str
) -> None:
    retry = {"backoff": "3600s", "maxAttempts": 5}
    step = function("fails", "test.explode") | {"retry": retry}
    await create_pipeline(client, tenant_id, "test", {"steps": [step]})
    run_id = await create_run(client, tenant_id, "test", None)
    async with asyncio.timeout(30):
        async for event in client.watch_run(tenant_id, run_id):
            if event.step.error.reason == "INTERNAL":
                break
    request = run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
    refused = await asyncio.gather(*(client.runs.CancelRun(request) for _ in range(10)))
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert len(refused) == 10
    assert run.state == run_pb2.RUN_STATE_CANCELLED


@pytest.mark.parametrize(
    "text", ["x" * (1 << 20), "請求書の検証に失敗しました。" * 100_000, "row 17: IBAN DE00"]
)
async def test_the_text_of_an_error_is_in_its_file_however_long_it_is(
    stack: LocalStack, client: Client, tenant_id: str, text: str
) -> None:
    part = text[:1_000]
    step = function(
        "fails", "test.explode", arguments={"secret": part, "times": len(text) // len(part)}
    )
    run, _ = await run_steps(client, tenant_id, step | {"retry": {"maxAttempts": 1}})

    assert len(run.error.message) < 100
    error = json.loads(stack.file(run.error.error_path).read_text())
    assert part[:100] in error["message"]
    assert error["type"] == "ValueError"


async def test_every_element_of_a_long_map_that_fails_is_recorded_once_for_each_attempt(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    numbers = function("numbers", "test.numbers", arguments={"count": 300}, short=True)
    fails = function("fails", "test.explode", "numbers", map={"step": "numbers"})
    run, _ = await run_steps(client, tenant_id, numbers, fails | {"retry": {"maxAttempts": 1}})

    assert (run.error.step, run.error.reason) == ("fails", "INTERNAL")
    database = await stack.database(client, tenant_id)
    open_rows = await database.fetchval("SELECT count(*) FROM steps WHERE status = 'running'")
    twice = await database.fetchval("SELECT max(retry_count) FROM steps")
    await database.close()
    assert (open_rows, twice) == (0, 0)


async def test_the_workers_log_is_json_whatever_functions_print(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    words = "printed by a function"
    step = function("exits", "test.exits", arguments={"last_words": words})
    await run_steps(client, tenant_id, step | {"retry": {"maxAttempts": 1}})

    log = (stack.layout.data / "logs" / "runs-worker.log").read_text()
    assert words not in log
    lines = [json.loads(line) for line in log.splitlines()]
    messages = {line["message"] for line in lines}
    assert "a function ended its process" in messages
    assert "no process for functions starts" not in messages


async def test_the_harness_for_authors_gives_what_a_run_has_left_behind(
    stack: LocalStack,
    client: Client,
    tenant_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = function("numbers", "test.numbers", arguments={"count": 3}, short=True)
    doubled = function("doubled", "test.double", "numbers", map={"step": "numbers"})
    run, _ = await run_steps(client, tenant_id, numbers, doubled)
    folder = stack.file(f"storage/{tenant_id}/{run.run_id}")
    install_functions(tmp_path / "installed")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    harness = FunctionHarness.from_folder(folder)
    (listed,) = harness.outputs["numbers"]

    for item in (1, 2, 3):
        element = listed.inside(f"/{item - 1}")
        result = await harness.run("test.double", step="doubled", element=element, item=item)
        left = folder / "doubled" / "artifacts" / f"{item}-1" / "output.json"
        assert result.data == left.read_bytes()
    assert len(harness.outputs["doubled"]) == 3


async def test_a_run_of_a_function_that_no_worker_has_is_not_created(
    client: Client, tenant_id: str
) -> None:
    step = function("gone", "no.such.function")
    await create_pipeline(client, tenant_id, "test", {"steps": [step]})

    with pytest.raises(ApiError) as refused:
        await create_run(client, tenant_id, "test", None)

    assert refused.value.reason == "ERROR_REASON_NOT_INSTALLED"
    assert [each.field for each in refused.value.violations] == ['steps["gone"].function']
    listed = await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
    assert not listed.runs
