from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from artifacts.app.body_verifier import BodyVerifier, cut_into_chunks
from artifacts.domain.files import CHUNK_BYTES, ContentDigests
from artifacts.errors import DigestMismatch, SizeMismatch, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

BODY = os.urandom(2 * CHUNK_BYTES + 5)
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.mark.parametrize("size", [1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_pieces_of_any_size_become_whole_chunks(size: int) -> None:
    body = BODY[: 3000 if size == 1 else None]
    chunks = [chunk async for chunk in cut_into_chunks(_pieces(body, size))]

    assert b"".join(chunks) == body
    assert all(len(chunk) == CHUNK_BYTES for chunk in chunks[:-1])


async def test_the_last_chunk_is_held_back_until_the_lease_is_confirmed(
    threads: ThreadPoolExecutor,
) -> None:
    received: list[int] = []

    async def confirm() -> None:
        assert sum(received) == 2 * CHUNK_BYTES

    verifier = BodyVerifier(_pieces(BODY, 70_000), len(BODY), DIGEST, "image/png", threads)
    async for piece in verifier.pieces(confirm):
        received.append(len(piece))  # noqa: PERF401 - `confirm` looks at it meanwhile
    assert sum(received) == len(BODY)
    assert verifier.content == ContentDigests.of(BODY)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, len(BODY)])
async def test_a_body_that_disagrees_never_comes_out_whole(
    threads: ThreadPoolExecutor, size: int
) -> None:
    out = bytearray()
    verifier = BodyVerifier(_pieces(BODY[:size], CHUNK_BYTES), size, "0" * 64, "image/png", threads)
    with pytest.raises(DigestMismatch):
        await _read_all(verifier, out)
    assert len(out) < size
    assert not verifier.verified


@pytest.mark.parametrize("declared", [0, 1, len(BODY) - 1, len(BODY) + 1])
async def test_a_body_of_another_size_never_comes_out_whole(
    threads: ThreadPoolExecutor, declared: int
) -> None:
    out = bytearray()
    verifier = BodyVerifier(_pieces(BODY, CHUNK_BYTES), declared, DIGEST, "image/png", threads)
    with pytest.raises(SizeMismatch):
        await _read_all(verifier, out)
    assert len(out) < max(declared, 1)


async def test_a_lost_lease_keeps_the_last_chunk_in(threads: ThreadPoolExecutor) -> None:
    async def lost() -> None:
        raise StoreUnavailable("another writer has taken over the path")

    verifier = BodyVerifier(_pieces(BODY, CHUNK_BYTES), len(BODY), DIGEST, "image/png", threads)
    with pytest.raises(StoreUnavailable):
        [piece async for piece in verifier.pieces(lost)]
    assert not verifier.verified


def test_a_file_of_one_chunk_needs_no_chunk_digests() -> None:
    assert ContentDigests.of(BODY[:CHUNK_BYTES]).chunk_digests == b""
    assert len(ContentDigests.of(BODY).chunk_digests) == 3 * 32


async def _read_all(verifier: BodyVerifier, into: bytearray) -> None:
    async for piece in verifier.pieces(_nothing):
        into += piece


async def _nothing() -> None:
    pass


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
