from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from tests.support.artifacts_client import MEBIBYTE

from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import Conflict, DataLoss, InvalidInput, NotFound, OutOfRange

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

RANGES = [
    (0, 1),
    (0, MEBIBYTE),
    (1, MEBIBYTE),
    (MEBIBYTE - 1, 2),
    (MEBIBYTE, MEBIBYTE),
    (2 * MEBIBYTE + 7, 0),
    (3 * MEBIBYTE + 99, 1),
    (3 * MEBIBYTE + 100, 0),
    (5, 10 * MEBIBYTE),
]


@pytest.mark.parametrize(("offset", "limit"), RANGES)
async def test_a_range_is_that_range_of_the_file(
    client: ArtifactsClient, offset: int, limit: int
) -> None:
    body = os.urandom(3 * MEBIBYTE + 100)
    await client.upload(client.draft(), body)

    read = await client.download(client.path(), offset=offset, limit=limit)
    assert read == (body[offset : offset + limit] if limit else body[offset:])


async def test_the_first_message_describes_the_file(client: ArtifactsClient) -> None:
    committed = await client.upload(client.draft(), b"tea")
    request = pb.DownloadArtifactRequest(tenant_id="acme", path=committed.path)
    messages = [message async for message in client.artifacts.DownloadArtifact(request)]

    assert [message.WhichOneof("part") for message in messages] == ["artifact", "data"]
    assert messages[0].artifact == committed


async def test_an_offset_behind_the_end_is_out_of_range(client: ArtifactsClient) -> None:
    await client.upload(client.draft(), b"tea")

    assert await client.download(client.path(), offset=3) == b""
    with pytest.raises(OutOfRange) as refused:
        await client.download(client.path(), offset=4)
    assert refused.value.reason == "ERROR_REASON_RANGE_INVALID"
    assert refused.value.metadata["size_bytes"] == "3"


async def test_a_file_of_another_digest_than_asked_for_is_a_conflict(
    client: ArtifactsClient,
) -> None:
    committed = await client.upload(client.draft(), b"tea")

    with pytest.raises(Conflict) as refused:
        await client.download(client.path(), digest="0" * 64)
    assert refused.value.reason == "ERROR_REASON_DIGEST_UNEXPECTED"
    assert refused.value.metadata["digest"] == committed.digest


async def test_what_is_not_committed_is_not_found_though_its_bytes_are_there(
    client: ArtifactsClient,
) -> None:
    client.on_disk(client.path()).parent.mkdir(parents=True)
    client.on_disk(client.path()).write_bytes(b"tea")

    with pytest.raises(NotFound) as refused:
        await client.download(client.path())
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_NOT_FOUND"


@pytest.mark.parametrize("chunk", [0, 1, 3])
async def test_a_changed_byte_is_found_and_nothing_behind_it_is_sent(
    client: ArtifactsClient, chunk: int
) -> None:
    body = os.urandom(3 * MEBIBYTE + 100)
    await client.upload(client.draft(), body)
    _flip(client, chunk * MEBIBYTE + 50)

    received = bytearray()
    with pytest.raises(DataLoss) as refused:
        await client.receive(client.path(), received)
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CORRUPT"
    assert refused.value.metadata["path"] == client.path()
    assert received == body[: chunk * MEBIBYTE]


async def test_a_range_beside_a_changed_byte_is_still_read(client: ArtifactsClient) -> None:
    body = os.urandom(3 * MEBIBYTE)
    await client.upload(client.draft(), body)
    _flip(client, MEBIBYTE + 50)

    assert await client.download(client.path(), offset=2 * MEBIBYTE) == body[2 * MEBIBYTE :]
    with pytest.raises(DataLoss):
        await client.download(client.path(), offset=MEBIBYTE + 100, limit=1)


@pytest.mark.parametrize("size", [0, 3, 2 * MEBIBYTE])
@pytest.mark.parametrize("damage", ["gone", "cut", "grown", "folder"])
async def test_a_file_that_is_gone_or_has_another_size_is_corrupt(
    client: ArtifactsClient, size: int, damage: str
) -> None:
    body = os.urandom(size)
    await client.upload(client.draft(), body)
    on_disk = client.on_disk(client.path())
    on_disk.unlink()
    match damage:
        case "cut" if size:
            on_disk.write_bytes(body[:-1])
        case "grown":
            on_disk.write_bytes(body + b"!")
        case "folder":
            on_disk.mkdir()
        case _:
            pass
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms

    with pytest.raises(DataLoss) as refused:
        await client.download(client.path())
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CORRUPT"


async def test_files_are_listed_by_path_in_pages(client: ArtifactsClient) -> None:
    names = [f"artifacts/{n}-1/output.json" for n in range(1, 8)]
    await client.put(*((client.draft(name), b"tea") for name in names))
    await client.put_one(b"tea", client.draft(step="draft-2"))
    await client.put_one(b"tea", client.draft())

    found: list[str] = []
    token = ""
    while True:
        page = await client.artifacts.ListArtifacts(
            pb.ListArtifactsRequest(
                tenant_id="acme", run_id=client.run_id, step="draft", page_size=3, page_token=token
            )
        )
        found += [artifact.name for artifact in page.artifacts]
        assert len(page.artifacts) <= 3
        if not (token := page.next_page_token):
            break
    assert found == [*names, "output.json"]

    of_run = await client.artifacts.ListArtifacts(
        pb.ListArtifactsRequest(tenant_id="acme", run_id=client.run_id)
    )
    assert [a.path for a in of_run.artifacts] == sorted(a.path for a in of_run.artifacts)
    assert len(of_run.artifacts) == 9


async def test_a_page_token_of_nobodys_making_is_refused(client: ArtifactsClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await client.artifacts.ListArtifacts(
            pb.ListArtifactsRequest(tenant_id="acme", run_id=client.run_id, page_token="x")
        )
    assert refused.value.reason == "ERROR_REASON_PAGE_TOKEN_INVALID"


async def test_a_file_is_described_without_its_bytes(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    committed = await client.upload(client.draft(), b"tea")
    request = pb.GetArtifactRequest(tenant_id="acme", path=committed.path)

    assert (await client.artifacts.GetArtifact(request)).artifact == committed
    client.on_disk(committed.path).unlink()
    assert (await client.artifacts.GetArtifact(request)).artifact == committed


def _flip(client: ArtifactsClient, position: int) -> None:
    """Change one bit of the stored file, behind everybody's back."""
    with client.on_disk(client.path()).open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
