"""Which files of a worker are committed by one request."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from runs.domain.outputs import OUTPUT, FileDraft
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from tests.support.runs_peers import FakeArtifacts
    from tests.support.runs_worker import RunsWorker

    from runs.domain.runs import OutputFile


RUNS = [str(uuid.UUID(int=number)) for number in (1, 2)]


async def put(worker: RunsWorker, user_id: str, run_id: str, data: bytes) -> OutputFile:
    with on_behalf_of(tenant_id="acme", user_id=user_id):
        return await worker.service.files.put("acme", FileDraft(run_id, "a", OUTPUT), data)


async def test_small_files_of_one_persons_runs_go_together(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    found = await asyncio.gather(*(put(worker, "ada", run, run.encode()) for run in RUNS))

    assert files.batches == 1
    assert [file.output_path for file in found] == [
        f"storage/acme/{run}/a/output.json" for run in RUNS
    ]


async def test_what_people_commit_goes_in_requests_of_their_own(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    await asyncio.gather(put(worker, "ada", RUNS[0], b"1"), put(worker, "grace", RUNS[1], b"2"))

    assert files.batches == 2


async def test_no_run_waits_for_large_files_of_another(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    large = b"x" * (100 << 10)
    await asyncio.gather(put(worker, "ada", RUNS[0], large), put(worker, "ada", RUNS[1], b"2"))

    assert files.batches == 2
