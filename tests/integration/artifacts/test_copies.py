from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.house import MEBIBYTE, digest_of

from servicekit.errors import Conflict, DataLoss, InvalidInput, NotFound

if TYPE_CHECKING:
    import asyncpg
    from tests.integration.artifacts.house import House

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
    house: House, json_pointer: str, value: str
) -> None:
    source = await house.put_one(
        json.dumps(DOCUMENT, indent=2).encode(), house.draft("artifacts/reply", file_type="")
    )
    copy = await house.copy(source, house.draft(file_type=""), json_pointer)

    assert copy.path == house.path()
    assert await house.download(copy.path) == value.encode()
    assert copy.digest == digest_of(value.encode())


@pytest.mark.parametrize("json_pointer", NOTHING)
async def test_a_pointer_to_nothing_is_refused(house: House, json_pointer: str) -> None:
    source = await house.put_one(json.dumps(DOCUMENT).encode(), house.draft("artifacts/reply"))

    with pytest.raises(InvalidInput) as refused:
        await house.copy(source, house.draft(), json_pointer)
    assert refused.value.reason == "ERROR_REASON_POINTER_INVALID"
    assert refused.value.metadata["json_pointer"] == json_pointer
    assert not house.on_disk(house.path()).exists()


@pytest.mark.parametrize("body", [b"no json", b"\xff", b'{"a": NaN}', b"[" * 100_000])
async def test_a_pointer_into_what_is_no_json_is_refused(house: House, body: bytes) -> None:
    source = await house.put_one(body, house.draft("artifacts/reply"))

    with pytest.raises(InvalidInput) as refused:
        await house.copy(source, house.draft(), "/a")
    assert refused.value.reason == "ERROR_REASON_POINTER_INVALID"


@pytest.mark.parametrize("size", [0, 10, 3 * MEBIBYTE, 5 * MEBIBYTE + 1])
async def test_a_whole_file_is_copied_byte_by_byte(house: House, size: int) -> None:
    body = os.urandom(size)
    source = await house.upload(house.draft("artifacts/source"), body)
    copy = await house.copy(source, house.draft())

    assert copy.digest == source.digest
    assert house.on_disk(copy.path).read_bytes() == body
    assert await house.download(copy.path, offset=size // 2) == body[size // 2 :]


async def test_a_copy_knows_what_it_was_copied_from(
    house: House, database: asyncpg.Connection
) -> None:
    source = await house.put_one(b'{"content": "tea"}', house.draft("artifacts/reply"))
    copy = await house.copy(source, house.draft(file_type=""), "/content")

    assert copy.summary == "3 characters"
    lineage = await database.fetchrow("SELECT * FROM lineage WHERE child_path = $1", copy.path)
    assert lineage is not None
    assert tuple(lineage) == (copy.path, source.path, source.digest, "/content")


async def test_the_same_copy_again_returns_the_same_file(house: House) -> None:
    source = await house.put_one(b'{"content": "tea"}', house.draft("artifacts/reply"))
    first = await house.copy(source, house.draft(), "/content")

    assert await house.copy(source, house.draft(), "/content") == first
    with pytest.raises(Conflict) as refused:
        await house.copy(source, house.draft())
    assert refused.value.reason == "ERROR_REASON_ARTIFACT_CONFLICT"


async def test_a_copy_of_a_corrupt_file_is_refused(house: House) -> None:
    for size in (10, 5 * MEBIBYTE):
        name = f"artifacts/of-{size}"
        source = await house.upload(house.draft(name), os.urandom(size))
        house.on_disk(source.path).write_bytes(os.urandom(size))

        with pytest.raises(DataLoss) as refused:
            await house.copy(source, house.draft())
        assert refused.value.reason == "ERROR_REASON_ARTIFACT_CORRUPT"
        assert not house.on_disk(house.path()).exists()


async def test_a_copy_of_nothing_or_of_another_file_is_refused(house: House) -> None:
    source = await house.put_one(b"tea", house.draft("artifacts/source"))
    source.digest = "0" * 64
    with pytest.raises(Conflict) as refused:
        await house.copy(source, house.draft())
    assert refused.value.reason == "ERROR_REASON_DIGEST_UNEXPECTED"

    source.path = house.path("artifacts/none")
    with pytest.raises(NotFound):
        await house.copy(source, house.draft())


async def test_values_are_not_taken_out_of_very_large_files(house: House) -> None:
    body = b'{"a":"' + b"x" * (16 * MEBIBYTE) + b'"}'
    source = await house.upload(house.draft("artifacts/large"), body)

    with pytest.raises(InvalidInput) as refused:
        await house.copy(source, house.draft(), "/a")
    assert refused.value.reason == "ERROR_REASON_VALUE_TOO_LARGE"


async def test_a_value_of_many_mib_is_copied(house: House) -> None:
    source = await house.upload(
        house.draft("artifacts/large"), b'{"a": "' + b"x" * (10 * MEBIBYTE) + b'"}'
    )
    copy = await house.copy(source, house.draft(file_type=""), "/a")

    assert copy.size_bytes == 10 * MEBIBYTE + 2
    assert copy.summary == "10,485,762 characters"
    assert digest_of(house.on_disk(copy.path).read_bytes()) == copy.digest
