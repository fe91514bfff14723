"""Large JSON files of one tenant, and what others wait for them."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.artifacts_client import MEBIBYTE, pointer, reason_of

from nagaya.artifacts.v1 import artifact_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.artifacts_client import ArtifactsClient

SECONDS = 0.25


def nothing_but(piece: bytes, size: int) -> bytes:
    return b"[" + b",".join([piece] * (size // (len(piece) + 1) - 1)) + b"]"


@asynccontextmanager
async def processor_time_between_ticks(found: list[float]) -> AsyncGenerator[None]:
    """Note how much processor time this process took between two moments of its loop.

    What the tests before left in this process is kept from the garbage collector, which would walk
    through all of it in the midst of parsing; a service has a small heap.
    """

    async def tick() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            found.append(now - last)
            last = now

    gc.collect()
    gc.freeze()
    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        gc.unfreeze()


async def test_a_file_of_countless_values_does_not_hold_up_the_loop(
    client: ArtifactsClient,
) -> None:
    body = nothing_but(b"[]", 15 * MEBIBYTE)
    file = await client.upload(client.draft(), body)
    found: list[float] = []
    async with processor_time_between_ticks(found):
        results = await client.get(*(pointer(file, f"/{number}") for number in range(40)))

    assert {result.data for result in results} == {b"[]"}
    assert max(found) < SECONDS


async def test_a_batch_of_many_files_does_not_hold_up_the_loop(client: ArtifactsClient) -> None:
    body = nothing_but(b"[]", 64 << 10)
    drafts = [client.draft(f"artifacts/{number}", file_type="") for number in range(47)]
    found: list[float] = []
    async with processor_time_between_ticks(found):
        results = await client.put(*((draft, body) for draft in drafts))

    assert {result.WhichOneof("outcome") for result in results} == {"artifact"}
    assert max(found) < SECONDS


async def test_values_end_where_3_mib_are_full(client: ArtifactsClient) -> None:
    body = nothing_but(b'"%s"' % (b"x" * (1 << 20)), 9 * MEBIBYTE)
    file = await client.upload(client.draft(), body)
    results = await client.get(pointer(file, "/9"), *(pointer(file, f"/{n}") for n in range(5)))

    reasons = [reason_of(result.status) for result in results if result.HasField("status")]
    assert [len(result.data) for result in results] == [0, *[(1 << 20) + 2] * 2, 0, 0, 0]
    assert reasons == ["ERROR_REASON_POINTER_INVALID", *["ERROR_REASON_BATCH_TOO_LARGE"] * 3]


async def test_a_process_that_dies_over_a_file_is_replaced(client: ArtifactsClient) -> None:
    file = await client.upload(client.draft(), nothing_but(b"1", MEBIBYTE))
    first = await client.get(pointer(file, "/0"))
    readers = multiprocessing.active_children()
    for reader in readers:
        reader.kill()
        reader.join()
    again = await client.get(pointer(file, "/0"))

    assert readers
    assert [result.data for result in (*first, *again)] == [b"1", b"1"]


async def test_pages_of_files_with_much_metadata_end_early(client: ArtifactsClient) -> None:
    drafts = [client.draft(f"artifacts/{number:02}") for number in range(64)]
    for draft in drafts:
        draft.metadata.update({"n": [None] * 1_000})
    for half in (drafts[::2], drafts[1::2]):
        await client.put(*((draft, b"tea") for draft in half))
    request = pb.ListArtifactsRequest(tenant_id="acme", run_id=client.run_id, page_size=200)
    pages = [await client.artifacts.ListArtifacts(request)]
    while token := pages[-1].next_page_token:
        request.page_token = token
        pages.append(await client.artifacts.ListArtifacts(request))

    names = [file.name for page in pages for file in page.artifacts]
    assert names == [draft.name for draft in drafts]
    assert len(pages) > 1
