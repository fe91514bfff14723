from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.integration.artifacts.leftovers import nothing_left
from tests.support.artifacts_client import MEBIBYTE, digest_of, pointer, reason_of
from tests.support.audit_log import chain

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import InvalidInput

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient


async def test_small_files_are_committed_at_once(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    bodies = {f"artifacts/{n}-1/output.json": os.urandom(500 * n) for n in range(100)}
    results = await client.put(*((client.draft(name), body) for name, body in bodies.items()))

    assert [r.artifact.digest for r in results] == list(map(digest_of, bodies.values()))
    for name, body in bodies.items():
        assert client.on_disk(client.path(name)).read_bytes() == body
    await chain(database)
    assert await database.fetchval(
        "SELECT count(*) FROM audit_logs WHERE resource_id LIKE $1", client.path("%")
    ) == len(bodies)
    await nothing_left(database, client)
    assert not await database.fetchval(
        "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid", client.run_id
    )


async def test_some_items_may_fail_where_others_succeed(client: ArtifactsClient) -> None:
    await client.put_one(b"tea", client.draft("artifacts/taken"))
    items = [
        _item(client.draft("artifacts/good"), b"tea"),
        _item(client.draft("artifacts/taken"), b"coffee"),
        _item(client.draft("artifacts/taken/x"), b"tea"),
        _item(client.draft(run_id=str(uuid4())), b"tea"),
        _item(client.draft("artifacts/wrong"), b"tea", "0" * 64),
        _item(client.draft("artifacts/good"), b"milk"),
        _item(client.draft("artifacts/taken"), b"tea"),
        _item(client.draft("artifacts/better"), b"tea", digest_of(b"tea")),
    ]
    request = pb.BatchPutArtifactsRequest(tenant_id="acme", items=items)
    results = (await client.artifacts.BatchPutArtifacts(request)).results

    assert [_outcome(result) for result in results] == [
        "artifact",
        "ERROR_REASON_ARTIFACT_CONFLICT",
        "ERROR_REASON_NAME_INVALID",
        "ERROR_REASON_RUN_NOT_FOUND",
        "ERROR_REASON_DIGEST_MISMATCH",
        "ERROR_REASON_NAME_INVALID",
        "ERROR_REASON_NAME_INVALID",
        "artifact",
    ]
    assert await client.download(client.path("artifacts/good")) == b"tea"
    assert await client.download(client.path("artifacts/taken")) == b"tea"


async def test_a_file_and_a_folder_of_one_batch_cannot_have_one_name(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    names = ["a", "a/x", "a/x/y", "b/c/d", "b", "b/c", "b/c/e", "a0"]
    results = await client.put(*((client.draft(f"artifacts/{name}"), b"tea") for name in names))

    refused = "ERROR_REASON_NAME_INVALID"
    assert [_outcome(result) for result in results] == [
        "artifact",
        refused,
        refused,
        "artifact",
        refused,
        refused,
        "artifact",
        "artifact",
    ]
    await nothing_left(database, client)
    assert not await database.fetchval(
        "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid", client.run_id
    )


async def test_the_same_batch_again_returns_the_same_files(client: ArtifactsClient) -> None:
    items = [(client.draft(f"artifacts/{n}"), b"tea %d" % n) for n in range(5)]

    assert await client.put(*items) == await client.put(*items)


async def test_a_batch_of_more_than_3_mib_is_refused_whole(client: ArtifactsClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await client.put(
            (client.draft("artifacts/a"), b"tea"),
            (client.draft("artifacts/b"), bytes(3 * MEBIBYTE - 2)),
        )
    assert refused.value.reason == "ERROR_REASON_BATCH_TOO_LARGE"
    assert not client.on_disk(client.path("artifacts/a")).exists()


async def test_a_batch_of_3_mib_in_one_file_is_taken(client: ArtifactsClient) -> None:
    body = os.urandom(3 * MEBIBYTE)
    committed = await client.put_one(body, client.draft())

    assert (
        await client.download(committed.path, offset=2 * MEBIBYTE + 5) == body[2 * MEBIBYTE + 5 :]
    )


FACTS = [
    (json.dumps("# A\n\ntext\n\n## B\n").encode(), "16 characters, 2 headings", 16),
    (json.dumps("お茶").encode(), "2 characters", 2),
    (b'{"a": 1, "b": [2]}', "object of 2 fields, 18 characters", 18),
    (b"[1, 2, 3]", "list of 3 items", 9),
    (b"1", "number", 1),
    (b"{", "1 character", 1),
]


@pytest.mark.parametrize(("body", "summary", "characters"), FACTS)
async def test_a_file_without_a_summary_gets_a_fact(
    client: ArtifactsClient, body: bytes, summary: str, characters: int
) -> None:
    committed = await client.put_one(body, client.draft(file_type=""))

    assert committed.file_type == "application/json"
    assert committed.summary == summary
    assert committed.metrics == {"bytes": len(body), "characters": characters}


async def test_a_summary_that_is_given_stays(client: ArtifactsClient) -> None:
    committed = await client.put_one(b"{}", client.draft(file_type="", summary="an empty plan"))

    assert committed.summary == "an empty plan"


async def test_metadata_that_cannot_be_stored_is_refused_alone(client: ArtifactsClient) -> None:
    good, large, nul, nan = (client.draft(f"artifacts/{n}") for n in range(4))
    large.metadata["text"] = "x" * 5000
    nul.metadata["text"] = "\0"
    nan.metadata["number"] = float("nan")
    results = await client.put(*((draft, b"tea") for draft in (good, large, nul, nan)))

    assert [_outcome(result) for result in results] == [
        "artifact",
        *["ERROR_REASON_REQUEST_INVALID"] * 3,
    ]


async def test_files_and_values_are_returned_in_order(client: ArtifactsClient) -> None:
    plan = await client.put_one(b'{"sections": [{"title": "Tea"}, 1.50]}', client.draft())
    text = await client.put_one(b"tea", client.draft("artifacts/text"))
    results = await client.get(
        pointer(plan, "/sections/0/title"),
        pointer(text),
        pointer(plan, "/sections/1"),
        pointer(plan, "/sections/2"),
        pointer(plan),
        pointer(text, "/x"),
    )

    assert [result.data for result in results] == [
        b'"Tea"',
        b"tea",
        b"1.50",
        b"",
        b'{"sections": [{"title": "Tea"}, 1.50]}',
        b"",
    ]
    assert _outcome(results[3]) == _outcome(results[5]) == "ERROR_REASON_POINTER_INVALID"


async def test_what_cannot_be_returned_is_reported_one_by_one(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    text = await client.put_one(b"tea", client.draft("artifacts/text"))
    lost = await client.put_one(b"lost", client.draft("artifacts/lost"))
    await nothing_left(database, client)
    client.on_disk(lost.path).unlink()
    digest = digest_of(b"tea")
    pointers = [
        artifact_pb2.ArtifactPointer(path=client.path("artifacts/none"), digest=digest),
        artifact_pb2.ArtifactPointer(path=text.path, digest="0" * 64),
        artifact_pb2.ArtifactPointer(path=text.path.replace("acme", "globex"), digest=digest),
        pointer(lost),
        pointer(text),
    ]

    assert [_outcome(result) for result in await client.get(*pointers)] == [
        "ERROR_REASON_ARTIFACT_NOT_FOUND",
        "ERROR_REASON_DIGEST_UNEXPECTED",
        "ERROR_REASON_PATH_INVALID",
        "ERROR_REASON_ARTIFACT_CORRUPT",
        "data",
    ]


async def test_results_end_where_3_mib_are_full(client: ArtifactsClient) -> None:
    large = await client.put_one(os.urandom(2 * MEBIBYTE), client.draft("artifacts/large"))
    small = await client.put_one(b"tea", client.draft("artifacts/small"))
    results = await client.get(*[pointer(small)] * 9, *[pointer(large)] * 2, pointer(small))

    assert [_outcome(result) for result in results] == [
        *["data"] * 10,
        *["ERROR_REASON_BATCH_TOO_LARGE"] * 2,
    ]


def _item(
    draft: artifact_pb2.ArtifactDraft, body: bytes, digest: str = ""
) -> pb.BatchPutArtifactsRequest.Item:
    return pb.BatchPutArtifactsRequest.Item(draft=draft, data=body, digest=digest)


def _outcome(
    result: pb.BatchPutArtifactsResponse.Result | pb.BatchGetArtifactsResponse.Result,
) -> str:
    return (
        reason_of(result.status) if result.HasField("status") else str(result.WhichOneof("outcome"))
    )
