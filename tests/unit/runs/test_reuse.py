"""Where the outputs that a fork takes over lie, whatever their step is called."""

from __future__ import annotations

import pytest

from dataplane.tenants import TenantPools
from runs.domain.activities import RunRef
from runs.peers.artifacts import Artifacts
from runs.store.reused_steps import DoneStep
from runs.worker.activities.reuse import StepReuser
from servicekit.channel import open_channel


@pytest.mark.parametrize("step", ["copy", "artifacts"])
@pytest.mark.parametrize("item", [3, 4])
async def test_an_output_lies_at_the_same_place_of_the_fork(step: str, item: int) -> None:
    reuser = StepReuser(TenantPools.__new__(TenantPools), Artifacts(open_channel("[::1]:1", None)))
    done = DoneStep(3, 1, f"storage/acme/old/{step}/artifacts/3-1/output.json")

    path = reuser._new_path(RunRef("acme", "new", 1), "old", step, done, item)

    assert path == f"storage/acme/new/{step}/artifacts/{item}-1/output.json"
