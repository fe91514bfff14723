"""How many elements of a map are done at once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.steered_runs import SteeredRuns, step

from runs.domain.runs import RunStatus

if TYPE_CHECKING:
    from tests.support.runs_peers import FakeArtifacts

LENGTH = 20


@pytest.mark.parametrize("short", [False, True], ids=["functions", "short functions"])
@pytest.mark.parametrize("parallel", [1, 12])
async def test_a_map_does_as_many_elements_at_once_as_it_says(
    steered: SteeredRuns, files: FakeArtifacts, parallel: int, *, short: bool
) -> None:
    numbers = [*range(LENGTH)]
    files.values = json.dumps(numbers).encode()
    steered.waiting = {"each"}
    over = {"step": "input", "parallel": parallel}
    await steered.service.pipeline(step("each", map=over, short=short))
    run_id = (await steered.service.run(inline=numbers)).run_id
    await steered.began_in_all("each", parallel)
    await asyncio.sleep(0.5)  # long enough for another one
    began = sum(word == "began" for _, _, word in steered.noted)
    steered.may_end.set()
    await steered.reached(run_id, RunStatus.COMPLETED)

    assert began == parallel
    assert sum(word == "ended" for _, _, word in steered.noted) == LENGTH
