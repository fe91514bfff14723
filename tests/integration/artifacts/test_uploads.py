from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.support.artifacts_client import MEBIBYTE, digest_of, pieces
from tests.support.audit_log import chain
from tests.support.waiting import fewer_run, wait_until

from artifacts.store.write_leases import SAME_BYTES_SECONDS
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import Conflict, DataLoss, DomainError, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

SIZES = [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 5 * MEBIBYTE]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [64 << 10, MEBIBYTE])
async def test_a_file_comes_back_as_it_was_sent(
    client: ArtifactsClient, size: int, piece: int
) -> None:
    body = os.urandom(size)
    committed = await client.upload(client.draft(), body, piece)

    assert committed.path == client.path()
    assert (committed.digest, committed.size_bytes) == (digest_of(body), size)
    assert client.on_disk(committed.path).read_bytes() == body
    assert await client.download(committed.path) == body


async def test_a_large_file_comes_back_as_it_was_sent(client: ArtifactsClient) -> None:
    body = os.urandom(64 * MEBIBYTE)
    committed = await client.upload(client.draft(), body)

    assert digest_of(client.on_disk(committed.path).read_bytes()) == committed.digest
    assert await client.download(committed.path) == body


async def test_an_upload_says_what_it_is_and_what_was_counted(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    body = b"# Tea\n\nGreen.\n\n## Black\n"
    draft = client.draft("artifacts/tea.md", file_type="text/markdown", item=3, visit=2)
    draft.metrics["output_tokens"] = 7
    draft.metadata["source"] = "ada"
    committed = await client.upload(draft, body)

    assert (committed.run_id, committed.step) == (client.run_id, "draft")
    assert (committed.name, committed.item, committed.visit) == ("artifacts/tea.md", 3, 2)
    assert committed.file_type == "text/markdown"
    assert committed.summary == "24 characters, 2 headings"
    assert committed.metrics == {"bytes": 24, "characters": 24, "output_tokens": 7}
    assert dict(committed.metadata) == {"source": "ada"}
    assert committed.create_time.seconds > 0
    await chain(database)
    log = await database.fetchrow(
        "SELECT user_id, action, resource_type FROM audit_logs WHERE resource_id = $1",
        committed.path,
    )
    assert log is not None
    assert tuple(log) == ("ada", "artifact.create", "artifact")


async def test_the_same_announcement_again_returns_the_same_upload(client: ArtifactsClient) -> None:
    first = await client.create_upload(client.draft(), b"tea")
    again = await client.create_upload(client.draft(), b"tea")

    assert again.upload.upload_id == first.upload.upload_id


async def test_an_announced_file_that_is_there_already_need_not_be_sent(
    client: ArtifactsClient,
) -> None:
    committed = await client.upload(client.draft(), b"tea")
    answer = await client.create_upload(client.draft(), b"tea")

    assert answer.artifact == committed


async def test_an_upload_whose_answer_was_lost_can_be_sent_again(client: ArtifactsClient) -> None:
    body = os.urandom(3 * MEBIBYTE)
    upload_id = (await client.create_upload(client.draft(), body)).upload.upload_id
    first = await client.send_upload(upload_id, body)
    again = await client.send_upload(upload_id, body)

    assert again == first


async def test_another_file_at_a_committed_path_is_refused_before_it_is_sent(
    client: ArtifactsClient,
) -> None:
    committed = await client.upload(client.draft(), b"tea")

    with pytest.raises(Conflict) as refused:
        await client.create_upload(client.draft(), b"coffee")
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"
    assert refused.value.metadata["digest"] == committed.digest


async def test_an_upload_that_was_overtaken_by_another_file_is_a_conflict(
    client: ArtifactsClient,
) -> None:
    late = await client.create_upload(client.draft(), b"coffee")
    await client.upload(client.draft(), b"tea")

    with pytest.raises(Conflict) as refused:
        await client.send_upload(late.upload.upload_id, b"coffee")
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"
    assert await client.download(client.path()) == b"tea"


@pytest.mark.parametrize("size", [3, 2 * MEBIBYTE])
async def test_bytes_that_disagree_with_their_digest_leave_nothing_behind(
    client: ArtifactsClient, database: asyncpg.Connection, size: int
) -> None:
    body = os.urandom(size)
    answer = await client.create_upload(client.draft(), body, digest=digest_of(b"other"))

    with pytest.raises(DataLoss) as refused:
        await client.send_upload(answer.upload.upload_id, body)
    assert refused.value.reason == "ERROR_REASON_DIGEST_MISMATCH"
    assert refused.value.metadata["digest"] == digest_of(body)
    assert not client.on_disk(client.path()).exists()
    assert not await _rows(database, client)


@pytest.mark.parametrize("sent", [b"", b"te", b"teas", b"tea" * MEBIBYTE])
async def test_more_or_fewer_bytes_than_declared_leave_nothing_behind(
    client: ArtifactsClient, database: asyncpg.Connection, sent: bytes
) -> None:
    answer = await client.create_upload(client.draft(), b"tea")

    with pytest.raises(InvalidInput) as refused:
        await client.send_upload(answer.upload.upload_id, sent)
    assert refused.value.reason == "ERROR_REASON_SIZE_MISMATCH"
    assert refused.value.metadata["size_bytes"] == "3"
    assert not client.on_disk(client.path()).exists()
    assert not await _rows(database, client)


async def test_a_refused_upload_can_be_sent_again(client: ArtifactsClient) -> None:
    answer = await client.create_upload(client.draft(), b"tea")
    with pytest.raises(DataLoss):
        await client.send_upload(answer.upload.upload_id, b"eat")

    assert (await client.send_upload(answer.upload.upload_id, b"tea")).size_bytes == 3


async def test_a_file_of_a_run_that_does_not_exist_is_refused(client: ArtifactsClient) -> None:
    draft = client.draft(run_id=str(uuid4()))

    with pytest.raises(Conflict) as refused:
        await client.create_upload(draft, b"tea")
    assert refused.value.reason == "ERROR_REASON_RUN_NOT_FOUND"
    assert refused.value.metadata["run_id"] == draft.run_id


async def test_an_expired_upload_is_not_found(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    answer = await client.create_upload(client.draft(), b"tea")
    await database.execute(
        "UPDATE uploads SET expires_at = now() WHERE upload_id = $1::uuid", answer.upload.upload_id
    )

    with pytest.raises(NotFound) as refused:
        await client.send_upload(answer.upload.upload_id, b"tea")
    assert refused.value.reason == "ERROR_REASON_UPLOAD_NOT_FOUND"


async def test_a_file_and_a_folder_cannot_have_one_name(client: ArtifactsClient) -> None:
    await client.upload(client.draft("artifacts/a"), b"tea")
    await client.upload(client.draft("artifacts/b/c"), b"tea")

    for name in ("artifacts/a/x", "artifacts/a/x/y", "artifacts/b"):
        with pytest.raises(InvalidInput) as refused:
            await client.create_upload(client.draft(name), b"tea")
        assert refused.value.reason == "ERROR_REASON_NAME_INVALID"
    await client.upload(client.draft("artifacts/a0"), b"tea")
    await client.upload(client.draft("artifacts/b/d"), b"tea")


async def test_a_stream_names_its_upload_first_and_once(client: ArtifactsClient) -> None:
    upload_id = (await client.create_upload(client.draft(), b"tea")).upload.upload_id
    named = pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
    data = pb.UploadArtifactRequest(tenant_id="acme", data=b"tea")

    for requests in ([data], [named, named], [named, data, named]):
        with pytest.raises(InvalidInput) as refused:
            await client.artifacts.UploadArtifact(_stream(requests))
        assert refused.value.reason == "ERROR_REASON_STREAM_INVALID"


async def test_100_refused_uploads_each_arrive_with_their_reason(
    client: ArtifactsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.app.uploads._DRAIN_SECONDS", 60.0)  # a busy machine is slow
    monkeypatch.setattr("interceptor.draining._MOST_SECONDS", 60.0)
    body = os.urandom(6 * MEBIBYTE)
    await client.upload(client.draft("artifacts/taken"), b"tea")
    wrong = await client.create_upload(client.draft("artifacts/wrong"), body, digest=digest_of(b""))
    short = await client.create_upload(client.draft("artifacts/short"), b"tea")
    late = await client.create_upload(client.draft("artifacts/late"), b"tea")
    await client.upload(client.draft("artifacts/late"), b"coffee")
    expected = {
        wrong.upload.upload_id: "ERROR_REASON_DIGEST_MISMATCH",
        short.upload.upload_id: "ERROR_REASON_SIZE_MISMATCH",
        late.upload.upload_id: "ERROR_REASON_ARTIFACT_CONFLICT",
        str(uuid4()): "ERROR_REASON_UPLOAD_NOT_FOUND",
    }

    async def refusal(upload_id: str) -> str:
        with pytest.raises(DomainError) as refused:
            await client.send_upload(upload_id, body)
        return refused.value.reason

    ids = list(expected) * 25
    arrived: list[str] = []
    for start in range(0, 100, 10):
        arrived += await asyncio.gather(*map(refusal, ids[start : start + 10]))
    assert arrived == [expected[upload_id] for upload_id in ids]


async def test_a_client_that_vanishes_in_the_middle_leaves_nothing_visible(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    body = os.urandom(8 * MEBIBYTE)
    upload_id = (await client.create_upload(client.draft(), body)).upload.upload_id
    begun = asyncio.Event()

    async def half() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
        for piece in pieces(body[: 4 * MEBIBYTE], MEBIBYTE):
            yield pb.UploadArtifactRequest(data=piece)
        begun.set()
        await asyncio.Event().wait()

    sending = asyncio.ensure_future(client.artifacts.UploadArtifact(half()))
    await begun.wait()
    await wait_until(lambda: _leases(database, client), unless=fewer_run((sending,)))
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert not client.on_disk(client.path()).exists()
    assert not await _rows(database, client)
    await wait_until(lambda: _leases(database, client, in_flight=False))  # by itself for seconds
    assert (await client.send_upload(upload_id, body)).digest == digest_of(body)


async def test_an_upload_that_comes_slowly_is_waited_for(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    """Longer than a lease that nobody renews would last among writers of the same bytes."""
    body = os.urandom(2 * MEBIBYTE)
    upload_id = (await client.create_upload(client.draft(), body)).upload.upload_id

    async def slowly() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(tenant_id="acme", upload_id=upload_id)
        yield pb.UploadArtifactRequest(data=body[:MEBIBYTE])
        await asyncio.sleep(SAME_BYTES_SECONDS + 1.5)
        yield pb.UploadArtifactRequest(data=body[MEBIBYTE:])

    slow = asyncio.ensure_future(client.artifacts.UploadArtifact(slowly()))
    await wait_until(lambda: _leases(database, client), unless=fewer_run((slow,)))
    quick = asyncio.ensure_future(client.send_upload(upload_id, body))

    assert (await slow).artifact == await quick
    assert await client.download(client.path()) == body


async def _rows(database: asyncpg.Connection, client: ArtifactsClient) -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM artifacts WHERE run_id = $1::uuid", client.run_id
        )
    )


async def _leases(
    database: asyncpg.Connection, client: ArtifactsClient, *, in_flight: bool = True
) -> int:
    sql = "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid AND in_flight = $2"
    return int(await database.fetchval(sql, client.run_id, in_flight))


async def _stream(
    requests: list[pb.UploadArtifactRequest],
) -> AsyncIterator[pb.UploadArtifactRequest]:
    for request in requests:
        yield request
