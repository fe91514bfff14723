"""Files through the artifacts service, beside the raw `minio` client on the same store.

Both sides of a round are measured one after the other, in turn. Large files go one at a time, small
ones by 16 at once; three of 4 KiB are what a run of three short steps commits. The service does
what the raw client does not: it verifies both ways and keeps rows, chunk digests and an audit log.
It is called without Envoy, so that both sides are one hop from what they measure.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import minio
import urllib3

from bench import part
from bench.cpu import cpu_seconds
from bench.goals import Goals, ratio, spread, table
from bench.measure import Samples, in_turn
from bench.ours import held_run
from bench.stack import our_stack
from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, upload_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from nagaya_client.client import Client

TENANT = "bench-artifacts"
ROUNDS = 5
LARGE_BYTES = 128 << 20
SMALL_BYTES = 4096
SMALL_FILES = 600
AT_ONCE = 16
_PIECE = 1 << 20
_PART = 16 << 20
# What a call leaves to be done after its answer counts too, and is not the other side's: rclone
# reads a file that was downloaded once more, to compare checksums.
_AFTERWARDS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ours:
    """The service, and a run of its own for the files."""

    nagaya: Client
    run_id: str

    def draft(self, name: str) -> artifact_pb2.ArtifactDraft:
        return artifact_pb2.ArtifactDraft(
            run_id=self.run_id,
            step="input",
            name=f"artifacts/{name}",
            file_type="application/octet-stream",
        )

    async def upload(self, body: bytes, digest: str) -> artifact_pb2.Artifact:
        announced = await self.nagaya.uploads.CreateUpload(
            upload_service_pb2.CreateUploadRequest(
                tenant_id=TENANT,
                draft=self.draft(uuid.uuid4().hex),
                size_bytes=len(body),
                digest=digest,
            )
        )
        requests = _upload(announced.upload.upload_id, body)
        return (await self.nagaya.artifacts.UploadArtifact(requests)).artifact

    async def download(self, path: str) -> int:
        request = artifact_service_pb2.DownloadArtifactRequest(tenant_id=TENANT, path=path)
        came = 0
        async for message in self.nagaya.artifacts.DownloadArtifact(request):
            came += len(message.data)
        return came

    async def put(self, count: int) -> None:
        """Commit small files in one batch."""
        items = [
            artifact_service_pb2.BatchPutArtifactsRequest.Item(
                draft=self.draft(f"{position % 16}/{uuid.uuid4().hex}"),
                data=os.urandom(SMALL_BYTES),
            )
            for position in range(count)
        ]
        request = artifact_service_pb2.BatchPutArtifactsRequest(tenant_id=TENANT, items=items)
        response = await self.nagaya.artifacts.BatchPutArtifacts(request)
        if not all(result.HasField("artifact") for result in response.results):
            raise RuntimeError("a file was not committed")


@dataclass(frozen=True, slots=True)
class Raw:
    """The same store by the client that everybody has."""

    client: minio.Minio
    threads: ThreadPoolExecutor

    async def upload(self, body: bytes) -> None:
        await self._in_thread(
            lambda: self.client.put_object(
                "storage", "_bench/large", io.BytesIO(body), len(body), part_size=_PART
            )
        )

    async def download(self) -> int:
        return await self._in_thread(self._read)

    async def put(self) -> None:
        name, body = f"_bench/{uuid.uuid4().hex}", os.urandom(SMALL_BYTES)
        await self._in_thread(
            lambda: self.client.put_object("storage", name, io.BytesIO(body), len(body))
        )

    async def _in_thread(self, call: Callable[[], object]) -> int:
        """Call, and return what came, if anything was to come."""
        done = await asyncio.get_running_loop().run_in_executor(self.threads, call)
        return done if isinstance(done, int) else 0

    def _read(self) -> int:
        response = self.client.get_object("storage", "_bench/large")
        try:
            return sum(len(piece) for piece in response.stream(_PIECE))
        finally:
            response.close()
            response.release_conn()


async def main() -> int:
    goals = Goals()
    async with our_stack() as stack:
        endpoints = stack.endpoints
        pids = {name: stack.pids[name] for name in ("artifacts", "postgres", "s3")}
        store = minio.Minio(
            urlsplit(endpoints.s3_endpoint).netloc,
            access_key=endpoints.s3_access_key,
            secret_key=endpoints.s3_secret_key,
            secure=endpoints.s3_endpoint.startswith("https"),
            region="us-east-1",
            http_client=urllib3.PoolManager(maxsize=AT_ONCE),
        )
        with ThreadPoolExecutor(AT_ONCE) as threads:
            async with stack.client() as nagaya:
                ours, raw = Ours(nagaya, await held_run(nagaya, TENANT)), Raw(store, threads)
                await raw.put()  # rclone refuses some of several who are the first in a folder
                sides = Sides(ours, raw, pids)
                figures = [*await _small(sides, goals), *await _large(sides, goals)]
                table(("figure", "CPU ms of our processes"), figures)
    return goals.exit_code


@dataclass(slots=True)
class FileSamples(Samples):
    """The rounds of one figure: amounts a second of both sides, and what ours cost."""

    ours: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)

    def judge(self, goals: Goals, figure: str, goal: float | None, unit: str) -> None:
        found = ratio(self.ours, self.raw)
        ours, raw = spread(self.ours, unit, 0), f"minio-py {spread(self.raw, unit, 0)}"
        if goal is None:
            goals.shown(figure, ours, raw, found)
        else:
            goals.at_least(figure, found, goal, ours, raw)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides, and the processes that do the work of ours."""

    ours: Ours
    raw: Raw
    pids: Mapping[str, int]

    async def compare(
        self,
        samples: FileSamples,
        number: int,
        amount: float,
        ours: Callable[[], Awaitable[object]],
        raw: Callable[[], Awaitable[object]],
    ) -> None:
        """Measure a round of both sides, in the opposite order every other round."""

        async def of_ours() -> None:
            before = cpu_seconds(self.pids)
            samples.ours.append(amount / await _seconds(ours))
            await asyncio.sleep(_AFTERWARDS_SECONDS)
            after = cpu_seconds(self.pids)
            used = {name: after[name] - before[name] for name in self.pids}
            samples.costs.append({name: 1000 * used[name] / amount for name in used})

        async def of_raw() -> None:
            samples.raw.append(amount / await _seconds(raw))
            await asyncio.sleep(_AFTERWARDS_SECONDS)

        for measure in in_turn((of_raw, of_ours), number):
            await measure()


async def _large(sides: Sides, goals: Goals) -> list[tuple[str, str]]:
    body, size = os.urandom(LARGE_BYTES), LARGE_BYTES / (1 << 20)
    digest = hashlib.sha256(body).hexdigest()
    up, down = FileSamples(), FileSamples()
    committed: list[artifact_pb2.Artifact] = []

    async def upload() -> None:
        committed.append(await sides.ours.upload(body, digest))

    async def download() -> None:
        await sides.ours.download(committed[-1].path)

    for number in range(ROUNDS):
        await sides.compare(up, number, size, upload, lambda: sides.raw.upload(body))
        await sides.compare(down, number, size, download, sides.raw.download)
    up.judge(goals, "upload of 128 MiB", 0.9, "MiB/s")
    down.judge(goals, "download of 128 MiB", 0.75, "MiB/s")
    return [("upload, a MiB", up.cpu_by_process), ("download, a MiB", down.cpu_by_process)]


async def _small(sides: Sides, goals: Goals) -> list[tuple[str, str]]:
    figures: list[tuple[str, str]] = []
    for count, goal in ((1, 0.6), (3, None), (100, 1.35)):
        samples, what = FileSamples(), f"files of 4 KiB, {count} a call"
        calls = SMALL_FILES // count
        for number in range(ROUNDS):
            await sides.compare(
                samples,
                number,
                calls * count,
                partial(_at_once, partial(sides.ours.put, count), calls),
                partial(_at_once, sides.raw.put, calls * count),
            )
        samples.judge(goals, what, goal, "files/s")
        figures.append((f"{what}, each", samples.cpu_by_process))
    return figures


async def _at_once(do: Callable[[], Awaitable[None]], count: int) -> None:
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await do()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def _seconds(do: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await do()
    return time.monotonic() - began


async def _upload(
    upload_id: str, body: bytes
) -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
    yield artifact_service_pb2.UploadArtifactRequest(tenant_id=TENANT, upload_id=upload_id)
    for start in range(0, len(body), _PIECE):
        yield artifact_service_pb2.UploadArtifactRequest(data=body[start : start + _PIECE])


if __name__ == "__main__":
    part.run(main)
