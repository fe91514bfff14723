"""Where a step finds what the steps before it have left, whichever worker did these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.runs_service import COPY, INPUT_FILE

from nagaya_functions import FilePointer
from runs.domain.activities import StepRef
from runs.domain.runs import OutputFile
from runs.domain.transitions import StepOutcome
from runs.worker.activities.step_inputs import StepInputFinder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.runs_service import RunsService

OUTPUT = OutputFile("storage/acme/x/copy/output.json", "1" * 64, "9 characters", {"bytes": 9})


async def found(
    service: RunsService, finder: StepInputFinder, work: StepRef
) -> Mapping[str, object]:
    context = await service.contexts.find(work.run)
    inputs = await finder.find(context, context.spec.step(work.step), work)
    return inputs.outputs


@pytest.mark.parametrize("output", [OUTPUT, None], ids=["done", "skipped"])
async def test_a_worker_finds_what_it_has_done_itself_and_what_another_has(
    service: RunsService, output: OutputFile | None
) -> None:
    await service.pipeline(COPY, {**COPY, "step": "use", "needs": ["copy"]})
    run = await service.run()
    await service.begin(run.run_id)
    copy, use = (StepRef("acme", run.run_id, 1, step) for step in ("copy", "use"))
    assert await service.journal.complete_at_once(copy, StepOutcome(output))
    one, another = StepInputFinder(service.tenants), StepInputFinder(service.tenants)
    one.put(copy, output)

    expected = {"input": (FilePointer(INPUT_FILE.output_path, INPUT_FILE.output_digest),)}
    if output is not None:
        expected["copy"] = (FilePointer(output.output_path, output.output_digest),)
    assert await found(service, one, use) == await found(service, another, use) == expected
