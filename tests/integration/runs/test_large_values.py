"""Values that are too large for a step are reported to the owner of its run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from temporalio.exceptions import ApplicationError
from tests.support.runs_worker import COPY, MAPPED, RunsWorker, steps_of

from nagaya_functions import FilePointer
from runs.domain.lists import MAP_LIMIT
from runs.domain.outputs import BYTES_AT_ONCE
from servicekit.errors import InvalidInput

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from jsonvalues import JsonValue

ALL = {**COPY, "map": {"step": "input", "json_pointer": "/all"}}


class BatchTooLarge(InvalidInput):
    reason = "ERROR_REASON_BATCH_TOO_LARGE"
    hint = "Send fewer at once; large files go by CreateUpload and come by DownloadArtifact."


class ValueTooLarge(InvalidInput):
    reason = "ERROR_REASON_VALUE_TOO_LARGE"
    hint = "Download the file and take the value out of it yourself."


@pytest.mark.parametrize(
    ("step", "refusal", "why"),
    [
        (ALL, BatchTooLarge("too much"), "the value at '/all' takes more than 3,145,728 bytes"),
        (MAPPED, BatchTooLarge("too much"), "the file takes more than 3,145,728 bytes"),
        (
            ALL,
            ValueTooLarge("too much", limit_bytes="16777216"),
            "the value at '/all' lies in a file of more than 16,777,216 bytes",
        ),
    ],
)
async def test_a_list_that_is_too_large_to_be_mapped_over_fails_its_step_for_good(
    worker: RunsWorker,
    files: FakeArtifacts,
    database: asyncpg.Connection,
    *,
    step: dict[str, object],
    refusal: InvalidInput,
    why: str,
) -> None:
    await worker.begin(step)
    files.values = refusal
    with pytest.raises(ApplicationError) as failed:
        await worker.open_map()

    message = (
        f"{why}, too much for a list that a step is mapped over: "
        "let its elements name files, which functions write, instead of holding them"
    )
    assert (failed.value.type, failed.value.message) == ("LIST_TOO_LARGE", message)
    assert failed.value.non_retryable
    assert await steps_of(database) == [("failed", 0)]
    failure = await database.fetchrow("SELECT error ->> 'reason', error ->> 'message' FROM steps")
    assert failure is not None
    assert tuple(failure) == ("LIST_TOO_LARGE", message)


async def test_a_list_that_is_too_long_to_be_mapped_over_fails_before_anything_is_done(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.begin(MAPPED)
    files.values = json.dumps([0] * MAP_LIMIT).encode()
    assert (await worker.open_map()).count == MAP_LIMIT

    files.values = json.dumps([0] * (MAP_LIMIT + 1)).encode()
    with pytest.raises(ApplicationError) as failed:
        await worker.open_map()
    assert (failed.value.type, failed.value.non_retryable) == ("LIST_TOO_LONG", True)
    assert failed.value.message == (
        "the list has 5,001 elements, a step is mapped over at most 5,000: "
        "divide it among several steps or runs"
    )
    assert await steps_of(database) == [("failed", 1)]


async def test_a_value_that_is_too_large_to_be_read_fails_the_function_that_reads_it(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.begin(COPY)
    files.values = BatchTooLarge("too much")

    async def read() -> JsonValue:
        assert worker.context is not None
        return await worker.context.read(
            FilePointer("storage/acme/r/input/output.json", "0" * 64, "/a")
        )

    worker.does = read
    with pytest.raises(ApplicationError) as failed:
        await worker.run()

    assert (failed.value.type, failed.value.non_retryable) == ("READ_TOO_LARGE", True)
    assert failed.value.message == (
        "the value at '/a' takes more than 3,145,728 bytes: point to a smaller value inside it, "
        "or read the whole file with StepContext.stream"
    )
    assert await steps_of(database) == [("failed", 0)]


async def test_a_file_that_is_too_large_is_not_sent(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.begin(COPY)
    before = dict(files.files)

    async def write() -> JsonValue:
        assert worker.context is not None
        await worker.context.write("large", bytes(BYTES_AT_ONCE + 1), "text/plain")

    worker.does = write
    with pytest.raises(ApplicationError) as failed:
        await worker.run()

    assert (failed.value.type, failed.value.non_retryable) == ("FILE_TOO_LARGE", True)
    assert "3,145,729 bytes, at most 3,145,728 are possible: write several" in failed.value.message
    assert await steps_of(database) == [("failed", 0)]
    assert files.files == before


async def test_a_manifest_that_is_too_large_fails_its_step(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    work = await worker.begin(MAPPED)
    await worker.service.journal.begin(work)
    await database.execute(
        """
        INSERT INTO steps (run_id, step, item, status, output_path, output_digest, summary, metrics)
        SELECT $1, 'copy', item, 'completed', repeat('p', 200), repeat('0', 64), '', '{}'
          FROM generate_series(1, 12000) AS item
        """,
        work.run_id,
    )
    before = dict(files.files)
    with pytest.raises(ApplicationError) as failed:
        await worker.close_map()

    assert (failed.value.type, failed.value.non_retryable) == ("OUTPUT_TOO_LARGE", True)
    assert "the outputs of 12,000 elements" in failed.value.message
    assert failed.value.message.endswith("at most 3,145,728 are possible: map over fewer")
    assert files.files == before
