"""Elements of maps that fail or are skipped, on a real database; artifacts is played."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.exceptions import ApplicationError
from tests.support.runs_worker import SHORT, RunsWorker, steps_of

from nagaya_functions import StepError
from runs.domain.activities import Walked
from runs.domain.runs import RunStatus

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from jsonvalues import JsonValue

ONCE = {"retry": {"max_attempts": 1}}
kinds = pytest.mark.parametrize("short", [False, True], ids=["functions", "short functions"])


def mapped(step: str, *needs: str, short: bool = False, **over: object) -> dict[str, Any]:
    """Return a step that is tried once for each element of the input."""
    kind = {"function": "copy", "short": short, "element_outputs": list(needs)}
    return {
        "step": step,
        "needs": [*needs],
        "map": {"step": "input", **over},
        "function": kind,
    } | ONCE


def failing(worker: RunsWorker, *items: int, step: str = "a") -> list[tuple[str, int]]:
    """Have a step fail for some elements; return what will have been called."""
    called: list[tuple[str, int]] = []

    async def work() -> JsonValue:
        assert worker.context is not None
        context = worker.context
        called.append((context.step, context.item))
        if context.step == step and context.item in items:
            raise StepError("ILLEGIBLE", "it cannot be read", retryable=False)
        return {"ok": context.item % 2 == 0}

    worker.does = work
    return called


@kinds
async def test_elements_that_may_fail_are_named_in_the_manifest(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection, *, short: bool
) -> None:
    ref = await worker.begin(mapped("a", short=short, allow_failed=2))
    files.values = json.dumps([0] * 30).encode()
    called = failing(worker, 3, 7)
    assert (await worker.open_maps("a")).count == 30
    await worker.walk("a", first=1, last=30, short=short, completes_run=False)
    assert await worker.close_maps("a") == Walked()

    assert sorted(called) == [("a", item) for item in range(1, 31)]
    assert (await worker.service.find(ref.run_id)).status is RunStatus.COMPLETED
    manifest = json.loads(files.contents[f"storage/acme/{ref.run_id}/a/output.json"])
    assert [each["item"] for each in manifest["items"]] == [*(1, 2, 4, 5, 6), *range(8, 31)]
    why = {"reason": "ILLEGIBLE", "message": "it cannot be read"}
    assert manifest["failed"] == [{"item": item, **why} for item in (3, 7)]
    assert await database.fetchval("SELECT metrics FROM steps WHERE item = 0") is not None


@kinds
async def test_a_map_of_which_more_fail_than_may_fails_once_all_are_done(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection, *, short: bool
) -> None:
    ref = await worker.begin(mapped("a", short=short, allow_failed=1))
    files.values = json.dumps([0] * 30).encode()
    called = failing(worker, 3, 7)
    await worker.open_maps("a")
    await worker.walk("a", first=1, last=30, short=short, completes_run=False)
    with pytest.raises(ApplicationError) as failed:
        await worker.close_maps("a")

    assert len(called) == 30
    assert (failed.value.type, failed.value.non_retryable) == ("ILLEGIBLE", True)
    assert failed.value.message == (
        "2 of 30 elements failed, 1 may; element 3: it cannot be read; element 7: it cannot be read"
    )
    assert f"storage/acme/{ref.run_id}/a/output.json" not in files.sent
    row = await database.fetchrow("SELECT status, error ->> 'message' FROM steps WHERE item = 0")
    assert tuple(row or ()) == ("failed", failed.value.message)


async def test_a_share_of_the_elements_may_fail(worker: RunsWorker, files: FakeArtifacts) -> None:
    ref = await worker.begin(mapped("a", allow_failed_percent=6.7))
    files.values = json.dumps([0] * 30).encode()
    failing(worker, 3, 7)
    await worker.open_maps("a")
    await worker.walk("a", first=1, last=30, completes_run=False)
    await worker.close_maps("a")

    assert (await worker.service.find(ref.run_id)).status is RunStatus.COMPLETED


@kinds
async def test_no_more_elements_begin_once_20_more_have_failed_than_may(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection, *, short: bool
) -> None:
    await worker.begin(mapped("a", short=short, allow_failed=3))
    files.values = json.dumps([0] * 200).encode()
    called = failing(worker, *range(1, 201))
    await worker.open_maps("a")
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a", first=1, last=200, short=short, completes_run=False)

    assert (failed.value.type, failed.value.non_retryable) == ("ILLEGIBLE", True)
    assert "elements failed, 3 may; element 1: it cannot be read; element 2:" in str(failed.value)
    assert 24 <= len(called) < 75
    assert await database.fetchval("SELECT status FROM steps WHERE item = 0") == "failed"


async def test_an_element_that_has_failed_is_not_tried_again_by_another_walk(
    worker: RunsWorker,
) -> None:
    await worker.begin(mapped("a", allow_failed=2))
    called = failing(worker, 3)
    for _ in range(2):
        await worker.walk("a", first=1, last=5, completes_run=False)

    assert sorted(called) == [("a", item) for item in range(1, 6)]


@kinds
@pytest.mark.parametrize("together", [True, False], ids=["one chain", "two chains"])
async def test_what_uses_an_element_that_failed_leaves_it_out(
    worker: RunsWorker,
    files: FakeArtifacts,
    database: asyncpg.Connection,
    *,
    short: bool,
    together: bool,
) -> None:
    ref = await worker.begin(
        mapped("a", short=short, allow_failed=2), mapped("b", "a", short=short)
    )
    files.values = json.dumps([0] * 5).encode()
    called = failing(worker, 3)
    for steps in (("a", "b"),) if together else (("a",), ("b",)):
        await worker.open_maps(*steps)
        await worker.walk(*steps, first=1, last=5, short=short, completes_run=False)
        await worker.close_maps(*steps, completes_run=steps[-1] == "b")

    assert sorted(called) == sorted(
        [*(("a", item) for item in range(1, 6)), *(("b", item) for item in (1, 2, 4, 5))]
    )
    assert (await worker.service.find(ref.run_id)).status is RunStatus.COMPLETED
    rows = await database.fetch("SELECT item FROM steps WHERE step = 'b' AND item > 0")
    assert sorted(row["item"] for row in rows) == [1, 2, 4, 5]


@kinds
@pytest.mark.parametrize("together", [True, False], ids=["one chain", "two chains"])
async def test_elements_whose_condition_is_false_are_skipped(
    worker: RunsWorker, files: FakeArtifacts, *, short: bool, together: bool
) -> None:
    first = {**mapped("a", short=short), "values": {"ok": "/ok"}}
    second = mapped("b", "a", short=short, when="a.ok && !skipped(a)")
    third = {**mapped("c", "b", short=short), "map": {"step": "b"}}
    ref = await worker.begin(first, second, third)
    files.values = json.dumps([0] * 5).encode()
    called = failing(worker)
    for steps in (("a", "b", "c"),) if together else (("a",), ("b",), ("c",)):
        assert (await worker.open_maps(*steps)).count == 5
        await worker.walk(*steps, first=1, last=5, short=short, completes_run=False)
        await worker.close_maps(*steps, completes_run=steps[-1] == "c")

    assert sorted(called) == sorted(
        [*(("a", item) for item in range(1, 6)), *((s, item) for s in "bc" for item in (2, 4))]
    )
    for step in "bc":
        manifest = json.loads(files.contents[f"storage/acme/{ref.run_id}/{step}/output.json"])
        assert manifest["skipped"] == [1, 3, 5]
        assert [each["item"] for each in manifest["items"]] == [2, 4]


async def test_values_are_those_of_the_file_that_was_committed_first(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    step = {**SHORT, "step": "a", "values": {"kind": "/kind"}}
    ref = await worker.begin(step)
    files.files[f"storage/acme/{ref.run_id}/a/output.json"] = "0" * 64
    files.values = b'"letter"'

    async def another() -> JsonValue:
        return {"kind": "invoice"}

    worker.does = another
    await worker.walk("a")

    assert json.loads(await database.fetchval("SELECT values FROM steps")) == {"kind": "letter"}
    events = "SELECT payload -> 'values' FROM run_events WHERE kind = 'step'"
    assert json.loads(await database.fetchval(events)) == {"kind": "letter"}


async def test_a_file_that_was_committed_first_and_has_no_such_values_fails_the_step(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    ref = await worker.begin({**SHORT, "step": "a", "values": {"kind": "/kind"}})
    files.files[f"storage/acme/{ref.run_id}/a/output.json"] = "0" * 64
    files.values = b"7"

    async def another() -> JsonValue:
        return {"kind": "invoice"}

    worker.does = another
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a")

    assert (failed.value.type, failed.value.non_retryable) == ("VALUE_UNUSABLE", True)


@pytest.mark.parametrize("value", [7, None, ["a"], "x" * 257, {"deep": True}])
async def test_what_is_no_short_text_and_no_boolean_is_no_value(
    worker: RunsWorker, database: asyncpg.Connection, value: JsonValue
) -> None:
    await worker.begin({**SHORT, "step": "a", "values": {"kind": "/kind"}})

    async def wrong() -> JsonValue:
        return {"kind": value}

    worker.does = wrong
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a")

    assert (failed.value.type, failed.value.non_retryable) == ("VALUE_UNUSABLE", True)
    assert await steps_of(database) == [("failed", 0)]
