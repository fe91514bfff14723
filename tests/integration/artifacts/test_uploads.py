from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.integration.artifacts.house import MEBIBYTE, digest_of, pieces

from artifacts.store.writes import SAME_BYTES_SECONDS
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import Conflict, DataLoss, DomainError, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from tests.integration.artifacts.house import House

SIZES = [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 5 * MEBIBYTE]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [64 << 10, MEBIBYTE])
async def test_a_file_comes_back_as_it_was_sent(house: House, size: int, piece: int) -> None:
    body = os.urandom(size)
    committed = await house.upload(house.draft(), body, piece)

    assert committed.path == house.path()
    assert (committed.digest, committed.size_bytes) == (digest_of(body), size)
    assert house.on_disk(committed.path).read_bytes() == body
    assert await house.download(committed.path) == body


async def test_a_large_file_comes_back_as_it_was_sent(house: House) -> None:
    body = os.urandom(64 * MEBIBYTE)
    committed = await house.upload(house.draft(), body)

    assert digest_of(house.on_disk(committed.path).read_bytes()) == committed.digest
    assert await house.download(committed.path) == body


async def test_an_upload_says_what_it_is_and_what_was_counted(
    house: House, database: asyncpg.Connection
) -> None:
    body = b"# Tea\n\nGreen.\n\n## Black\n"
    draft = house.draft("artifacts/tea.md", file_type="text/markdown", item=3, visit=2)
    draft.metrics["output_tokens"] = 7
    draft.metadata["source"] = "ada"
    committed = await house.upload(draft, body)

    assert (committed.run_id, committed.step) == (house.run_id, "draft")
    assert (committed.name, committed.item, committed.visit) == ("artifacts/tea.md", 3, 2)
    assert committed.file_type == "text/markdown"
    assert committed.summary == "24 characters, 2 headings"
    assert committed.metrics == {"bytes": 24, "characters": 24, "output_tokens": 7}
    assert dict(committed.metadata) == {"source": "ada"}
    assert committed.create_time.seconds > 0
    log = await database.fetchrow(
        "SELECT user_id, action, resource_type FROM audit_logs WHERE resource_id = $1",
        committed.path,
    )
    assert log is not None
    assert tuple(log) == ("ada", "artifact.create", "artifact")


async def test_the_same_announcement_again_returns_the_same_upload(house: House) -> None:
    first = await house.announce(house.draft(), b"tea")
    again = await house.announce(house.draft(), b"tea")

    assert again.upload.upload_id == first.upload.upload_id


async def test_an_announced_file_that_is_there_already_need_not_be_sent(house: House) -> None:
    committed = await house.upload(house.draft(), b"tea")
    answer = await house.announce(house.draft(), b"tea")

    assert answer.artifact == committed


async def test_an_upload_whose_answer_was_lost_can_be_sent_again(house: House) -> None:
    body = os.urandom(3 * MEBIBYTE)
    upload_id = (await house.announce(house.draft(), body)).upload.upload_id
    first = await house.send(upload_id, body)
    again = await house.send(upload_id, body)

    assert again == first


async def test_another_file_at_a_committed_path_is_refused_before_it_is_sent(house: House) -> None:
    committed = await house.upload(house.draft(), b"tea")

    with pytest.raises(Conflict) as refused:
        await house.announce(house.draft(), b"coffee")
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"
    assert refused.value.metadata["digest"] == committed.digest


async def test_an_upload_that_was_overtaken_by_another_file_is_a_conflict(house: House) -> None:
    late = await house.announce(house.draft(), b"coffee")
    await house.upload(house.draft(), b"tea")

    with pytest.raises(Conflict) as refused:
        await house.send(late.upload.upload_id, b"coffee")
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"
    assert await house.download(house.path()) == b"tea"


@pytest.mark.parametrize("size", [3, 2 * MEBIBYTE])
async def test_bytes_that_disagree_with_their_digest_leave_nothing_behind(
    house: House, database: asyncpg.Connection, size: int
) -> None:
    body = os.urandom(size)
    answer = await house.announce(house.draft(), body, digest=digest_of(b"other"))

    with pytest.raises(DataLoss) as refused:
        await house.send(answer.upload.upload_id, body)
    assert refused.value.reason == "ERROR_REASON_DIGEST_MISMATCH"
    assert refused.value.metadata["digest"] == digest_of(body)
    assert not house.on_disk(house.path()).exists()
    assert not await _rows(database, house)


@pytest.mark.parametrize("sent", [b"", b"te", b"teas", b"tea" * MEBIBYTE])
async def test_more_or_fewer_bytes_than_declared_leave_nothing_behind(
    house: House, database: asyncpg.Connection, sent: bytes
) -> None:
    answer = await house.announce(house.draft(), b"tea")

    with pytest.raises(InvalidInput) as refused:
        await house.send(answer.upload.upload_id, sent)
    assert refused.value.reason == "ERROR_REASON_SIZE_MISMATCH"
    assert refused.value.metadata["size_bytes"] == "3"
    assert not house.on_disk(house.path()).exists()
    assert not await _rows(database, house)


async def test_a_refused_upload_can_be_sent_again(house: House) -> None:
    answer = await house.announce(house.draft(), b"tea")
    with pytest.raises(DataLoss):
        await house.send(answer.upload.upload_id, b"eat")

    assert (await house.send(answer.upload.upload_id, b"tea")).size_bytes == 3


async def test_a_file_of_a_run_that_does_not_exist_is_refused(house: House) -> None:
    draft = house.draft(run_id=str(uuid4()))

    with pytest.raises(Conflict) as refused:
        await house.announce(draft, b"tea")
    assert refused.value.reason == "ERROR_REASON_RUN_NOT_FOUND"
    assert refused.value.metadata["run_id"] == draft.run_id


async def test_an_expired_upload_is_not_found(house: House, database: asyncpg.Connection) -> None:
    answer = await house.announce(house.draft(), b"tea")
    await database.execute(
        "UPDATE uploads SET expires_at = now() WHERE upload_id = $1::uuid", answer.upload.upload_id
    )

    with pytest.raises(NotFound) as refused:
        await house.send(answer.upload.upload_id, b"tea")
    assert refused.value.reason == "ERROR_REASON_UPLOAD_NOT_FOUND"


async def test_a_file_and_a_folder_cannot_have_one_name(house: House) -> None:
    await house.upload(house.draft("artifacts/a"), b"tea")
    await house.upload(house.draft("artifacts/b/c"), b"tea")

    for name in ("artifacts/a/x", "artifacts/a/x/y", "artifacts/b"):
        with pytest.raises(InvalidInput) as refused:
            await house.announce(house.draft(name), b"tea")
        assert refused.value.reason == "ERROR_REASON_NAME_INVALID"
    await house.upload(house.draft("artifacts/a0"), b"tea")
    await house.upload(house.draft("artifacts/b/d"), b"tea")


async def test_a_stream_names_its_upload_first_and_once(house: House) -> None:
    upload_id = (await house.announce(house.draft(), b"tea")).upload.upload_id
    named = pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
    data = pb.UploadArtifactRequest(tenant_id="acme", data=b"tea")

    for requests in ([data], [named, named], [named, data, named]):
        with pytest.raises(InvalidInput) as refused:
            await house.artifacts.UploadArtifact(_stream(requests))
        assert refused.value.reason == "ERROR_REASON_STREAM_INVALID"


async def test_100_refused_uploads_each_arrive_with_their_reason(house: House) -> None:
    body = os.urandom(6 * MEBIBYTE)
    await house.upload(house.draft("artifacts/taken"), b"tea")
    wrong = await house.announce(house.draft("artifacts/wrong"), body, digest=digest_of(b""))
    short = await house.announce(house.draft("artifacts/short"), b"tea")
    late = await house.announce(house.draft("artifacts/late"), b"tea")
    await house.upload(house.draft("artifacts/late"), b"coffee")
    expected = {
        wrong.upload.upload_id: "ERROR_REASON_DIGEST_MISMATCH",
        short.upload.upload_id: "ERROR_REASON_SIZE_MISMATCH",
        late.upload.upload_id: "ERROR_REASON_ARTIFACT_CONFLICT",
        str(uuid4()): "ERROR_REASON_UPLOAD_NOT_FOUND",
    }

    async def refusal(upload_id: str) -> str:
        with pytest.raises(DomainError) as refused:
            await house.send(upload_id, body)
        return refused.value.reason

    ids = list(expected) * 25
    arrived: list[str] = []
    for start in range(0, 100, 10):
        arrived += await asyncio.gather(*map(refusal, ids[start : start + 10]))
    assert arrived == [expected[upload_id] for upload_id in ids]


async def test_a_client_that_vanishes_in_the_middle_leaves_nothing_visible(
    house: House, database: asyncpg.Connection
) -> None:
    body = os.urandom(8 * MEBIBYTE)
    upload_id = (await house.announce(house.draft(), body)).upload.upload_id
    begun = asyncio.Event()

    async def half() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
        for piece in pieces(body[: 4 * MEBIBYTE], MEBIBYTE):
            yield pb.UploadArtifactRequest(data=piece)
        begun.set()
        await asyncio.Event().wait()

    sending = asyncio.ensure_future(house.artifacts.UploadArtifact(half()))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert not house.on_disk(house.path()).exists()
    assert not await _rows(database, house)
    started = time.monotonic()
    assert (await house.send(upload_id, body)).digest == digest_of(body)
    assert time.monotonic() - started < 4, "the lease of the vanished one was let go at once"


async def test_an_upload_that_comes_slowly_is_waited_for(house: House) -> None:
    """Longer than a lease that nobody renews would last among writers of the same bytes."""
    body = os.urandom(2 * MEBIBYTE)
    upload_id = (await house.announce(house.draft(), body)).upload.upload_id

    async def slowly() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
        yield pb.UploadArtifactRequest(data=body[:MEBIBYTE])
        await asyncio.sleep(SAME_BYTES_SECONDS + 1.5)
        yield pb.UploadArtifactRequest(data=body[MEBIBYTE:])

    slow = asyncio.ensure_future(house.artifacts.UploadArtifact(slowly()))
    await asyncio.sleep(0.3)
    quick = asyncio.ensure_future(house.send(upload_id, body))

    assert (await slow).artifact == await quick
    assert await house.download(house.path()) == body


async def _rows(database: asyncpg.Connection, house: House) -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM artifacts WHERE run_id = $1::uuid", house.run_id
        )
    )


async def _stream(
    requests: list[pb.UploadArtifactRequest],
) -> AsyncIterator[pb.UploadArtifactRequest]:
    for request in requests:
        yield request
