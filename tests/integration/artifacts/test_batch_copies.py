"""Copies of many whole files in one call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.artifacts_client import MEBIBYTE, reason_of

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

Copy = artifact_service_pb2.BatchCopyArtifactsRequest.Copy
Result = artifact_service_pb2.BatchCopyArtifactsResponse.Result


def to(source: artifact_pb2.Artifact, name: str, *, step: str = "copied", item: int = 0) -> Copy:
    return Copy(
        path=source.path,
        digest=source.digest,
        run_id=source.run_id,
        step=step,
        name=name,
        item=item,
        visit=2,
    )


async def copy(client: ArtifactsClient, *copies: Copy) -> list[Result]:
    request = artifact_service_pb2.BatchCopyArtifactsRequest(
        tenant_id=client.tenant_id, copies=copies
    )
    return list((await client.artifacts.BatchCopyArtifacts(request)).results)


async def test_files_of_all_sizes_are_copied_with_all_that_is_known_of_them(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    sizes = [0, 10, 300 << 10, 2 * MEBIBYTE, 3 * MEBIBYTE, 5 * MEBIBYTE + 1]
    sources: list[artifact_pb2.Artifact] = []
    for size in sizes:
        draft = client.draft(f"artifacts/of-{size}", summary=f"a file of {size}")
        draft.metrics["pages"] = 7
        draft.fractional_metrics["score"] = 0.5
        draft.metadata["by"] = "ada"
        sources.append(await client.upload(draft, os.urandom(size)))
    results = await copy(
        client, *(to(each, f"artifacts/3-2/{n}", item=3) for n, each in enumerate(sources))
    )

    for source, result in zip(sources, results, strict=True):
        copied = result.artifact
        assert (copied.step, copied.item, copied.visit) == ("copied", 3, 2)
        assert (copied.digest, copied.size_bytes) == (source.digest, source.size_bytes)
        assert (copied.summary, copied.file_type) == (source.summary, source.file_type)
        assert copied.metrics == source.metrics
        assert copied.fractional_metrics == source.fractional_metrics
        assert copied.metadata == source.metadata
        on_disk = client.on_disk(copied.path).read_bytes()
        assert on_disk == client.on_disk(source.path).read_bytes()
    parents = await database.fetch(
        "SELECT parent_path FROM lineage WHERE child_path = ANY($1)",
        [result.artifact.path for result in results],
    )
    assert sorted(row[0] for row in parents) == sorted(source.path for source in sources)


async def test_the_same_copies_again_return_the_same_files_and_read_nothing(
    client: ArtifactsClient,
) -> None:
    source = await client.put_one(b"tea", client.draft("artifacts/source"))
    (first,) = await copy(client, to(source, "output.json"))
    client.on_disk(source.path).unlink()

    assert await copy(client, to(source, "output.json")) == [first]


async def test_each_copy_has_an_outcome_of_its_own(client: ArtifactsClient) -> None:
    good = await client.put_one(b"good", client.draft("artifacts/good"))
    other = await client.put_one(b"other", client.draft("artifacts/other"))
    await client.put_one(b"taken", client.draft("artifacts/taken", step="copied"))
    unexpected = to(good, "artifacts/unexpected")
    unexpected.digest = other.digest
    missing = to(good, "artifacts/missing")
    missing.path = client.path("artifacts/none")
    foreign = to(good, "artifacts/foreign")
    foreign.path = good.path.replace("/acme/", "/globex/")
    results = await copy(
        client,
        to(good, "artifacts/good"),
        unexpected,
        missing,
        foreign,
        to(good, "artifacts/taken"),
        to(good, "artifacts/0-1/call-1.json"),
        to(good, "artifacts/twice"),
        to(other, "artifacts/twice"),
    )

    reasons = [
        reason_of(each.status).removeprefix("ERROR_REASON_") if each.HasField("status") else ""
        for each in results
    ]
    assert reasons == [
        "",
        "DIGEST_UNEXPECTED",
        "ARTIFACT_NOT_FOUND",
        "PATH_INVALID",
        "ARTIFACT_CONFLICT",
        "PATH_RESERVED",
        "NAME_INVALID",
        "NAME_INVALID",
    ]
