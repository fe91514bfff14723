"""Chains of steps on a real database: the activities are called as Temporal calls them.

Artifacts is played; the worker's one function is called `copy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.runs.test_steps import events_of
from tests.support.runs_worker import COPY, SHORT, RunsWorker, steps_of

from runs.domain.activities import Walked
from runs.domain.runs import RunStatus

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts


RUN_BEGUN = [("run", "pending"), ("run", "running")]


def after(kind: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return steps of one kind, each after the one before."""
    needs = [[], *([name] for name in names)]
    return [{**kind, "step": name, "needs": need} for name, need in zip(names, needs, strict=False)]


@pytest.mark.parametrize("kind", [COPY, SHORT], ids=["functions", "short functions"])
async def test_a_chain_leaves_what_its_steps_would_leave_one_by_one(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection, kind: dict[str, Any]
) -> None:
    run_id = (await worker.create(*after(kind, "a", "b", "c"))).run_id
    assert await worker.walk("a", "b", "c") == Walked()

    one = [("step", "completed")] if kind is SHORT else [("step", "running"), ("step", "completed")]
    assert await events_of(database) == [*RUN_BEGUN, *one * 3, ("run", "completed")]
    assert await steps_of(database) == [("completed", 0)] * 3
    assert (await worker.service.find(run_id)).status is RunStatus.COMPLETED
    paths = [f"storage/acme/{run_id}/{step}/output.json" for step in ("input", "a", "b", "c")]
    assert files.sent == paths
    assert files.batches == (1 if kind is SHORT else 4)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [row["seq"] for row in numbers] == list(range(1, len(numbers) + 1))
