from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.support.artifacts_client import MEBIBYTE, digest_of

from servicekit.errors import Conflict, DataLoss, InvalidInput, NotFound

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

DOCUMENT = {
    "content": '# Tea\n\nお茶 "green"',
    "a/b": {"m~n": [10, {"": True}]},
    "rows": [{"b": 1, "a": 2}],
}
VALUES = [
    ("/content", '"# Tea\\n\\nお茶 \\"green\\""'),
    ("/a~1b/m~0n/0", "10"),
    ("/a~1b/m~0n/1/", "true"),
    ("/rows/0", '{"b":1,"a":2}'),
    ("/rows", '[{"b":1,"a":2}]'),
]
NOTHING = ["/none", "/rows/1", "/rows/-", "/rows/00", "/rows/0/c", "/content/0", "/a/b", "/a~2b"]


@pytest.mark.parametrize(("json_pointer", "value"), VALUES)
async def test_a_value_is_copied_in_its_shortest_form(
    client: ArtifactsClient, json_pointer: str, value: str
) -> None:
    source = await client.put_one(
        json.dumps(DOCUMENT, indent=2).encode(), client.draft("artifacts/reply", file_type="")
    )
    copy = await client.copy(source, client.draft(file_type=""), json_pointer)

    assert copy.path == client.path()
    assert await client.download(copy.path) == value.encode()
    assert copy.digest == digest_of(value.encode())


@pytest.mark.parametrize("json_pointer", NOTHING)
async def test_a_pointer_to_nothing_is_refused(client: ArtifactsClient, json_pointer: str) -> None:
    source = await client.put_one(json.dumps(DOCUMENT).encode(), client.draft("artifacts/reply"))

    with pytest.raises(InvalidInput) as refused:
        await client.copy(source, client.draft(), json_pointer)
    assert refused.value.reason == "ERROR_REASON_POINTER_INVALID"
    assert refused.value.metadata["json_pointer"] == json_pointer
    assert not client.on_disk(client.path()).exists()


@pytest.mark.parametrize("body", [b"no json", b"\xff", b'{"a": NaN}', b"[" * 100_000])
async def test_a_pointer_into_what_is_no_json_is_refused(
    client: ArtifactsClient, body: bytes
) -> None:
    source = await client.put_one(body, client.draft("artifacts/reply"))

    with pytest.raises(InvalidInput) as refused:
        await client.copy(source, client.draft(), "/a")
    assert refused.value.reason == "ERROR_REASON_POINTER_INVALID"


@pytest.mark.parametrize("size", [0, 10, 3 * MEBIBYTE, 5 * MEBIBYTE + 1])
async def test_a_whole_file_is_copied_byte_by_byte(client: ArtifactsClient, size: int) -> None:
    body = os.urandom(size)
    source = await client.upload(client.draft("artifacts/source"), body)
    copy = await client.copy(source, client.draft())

    assert copy.digest == source.digest
    assert client.on_disk(copy.path).read_bytes() == body
    assert await client.download(copy.path, offset=size // 2) == body[size // 2 :]


async def test_a_copy_knows_what_it_was_copied_from(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    source = await client.put_one(b'{"content": "tea"}', client.draft("artifacts/reply"))
    copy = await client.copy(source, client.draft(file_type=""), "/content")

    assert copy.summary == "3 characters"
    lineage = await database.fetchrow("SELECT * FROM lineage WHERE child_path = $1", copy.path)
    assert lineage is not None
    assert tuple(lineage) == (copy.path, source.path, source.digest, "/content")


async def test_the_same_copy_again_returns_the_same_file(client: ArtifactsClient) -> None:
    source = await client.put_one(b'{"content": "tea"}', client.draft("artifacts/reply"))
    first = await client.copy(source, client.draft(), "/content")

    assert await client.copy(source, client.draft(), "/content") == first
    with pytest.raises(Conflict) as refused:
        await client.copy(source, client.draft())
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"


async def test_a_copy_of_a_corrupt_file_is_refused(client: ArtifactsClient) -> None:
    for size in (10, 5 * MEBIBYTE):
        name = f"artifacts/of-{size}"
        source = await client.upload(client.draft(name), os.urandom(size))
        client.on_disk(source.path).write_bytes(os.urandom(size))

        with pytest.raises(DataLoss) as refused:
            await client.copy(source, client.draft())
        assert refused.value.reason == "ERROR_REASON_ARTIFACT_CORRUPT"
        assert not client.on_disk(client.path()).exists()


async def test_a_copy_of_nothing_or_of_another_file_is_refused(client: ArtifactsClient) -> None:
    source = await client.put_one(b"tea", client.draft("artifacts/source"))
    source.digest = "0" * 64
    with pytest.raises(Conflict) as refused:
        await client.copy(source, client.draft())
    assert refused.value.reason == "ERROR_REASON_DIGEST_UNEXPECTED"

    source.path = client.path("artifacts/none")
    with pytest.raises(NotFound):
        await client.copy(source, client.draft())


async def test_values_are_not_taken_out_of_very_large_files(client: ArtifactsClient) -> None:
    body = b'{"a":"' + b"x" * (16 * MEBIBYTE) + b'"}'
    source = await client.upload(client.draft("artifacts/large"), body)

    with pytest.raises(InvalidInput) as refused:
        await client.copy(source, client.draft(), "/a")
    assert refused.value.reason == "ERROR_REASON_VALUE_TOO_LARGE"


async def test_a_value_of_many_mib_is_copied(client: ArtifactsClient) -> None:
    source = await client.upload(
        client.draft("artifacts/large"), b'{"a": "' + b"x" * (10 * MEBIBYTE) + b'"}'
    )
    copy = await client.copy(source, client.draft(file_type=""), "/a")

    assert copy.size_bytes == 10 * MEBIBYTE + 2
    assert copy.summary == "10,485,762 characters"
    assert digest_of(client.on_disk(copy.path).read_bytes()) == copy.digest
