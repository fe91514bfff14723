"""Files through the artifacts service, beside the raw `minio` client on the same store.

Large files go one after another, small ones by 16 at once. The service does what the raw client
does not: it verifies both ways and keeps rows, chunk digests and an audit log. It is called without
Envoy, so that both sides are one hop from what they measure.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import minio
import urllib3

from bench import part
from bench.goals import Goals
from bench.stack import our_stack
from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, upload_service_pb2
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nagaya_client.client import Client

TENANT = "bench-artifacts"
ROUNDS = 3
LARGE_BYTES = 128 << 20
SMALL_BYTES = 4096
SMALL_FILES = 800
AT_ONCE = 16
_PIECE = 1 << 20
_PART = 16 << 20

CLONE = Path(__file__).parents[1]


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

    async def clear(self) -> None:
        await self._in_thread(self._clear)

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

    def _clear(self) -> None:
        for found in self.client.list_objects("storage", "_bench/", recursive=True):
            self.client.remove_object("storage", found.object_name or "")


async def main() -> int:
    goals = Goals()
    async with our_stack() as stack:
        endpoints, pid = stack.endpoints, stack.pids["artifacts"]
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
                ours, raw = Ours(nagaya, await _held_run(nagaya)), Raw(store, threads)
                await _large(ours, raw, pid, goals)
                await _small(ours, raw, pid, goals)
    return goals.exit_code


async def _large(ours: Ours, raw: Raw, pid: int, goals: Goals) -> None:
    body = os.urandom(LARGE_BYTES)
    digest = hashlib.sha256(body).hexdigest()
    up: list[float] = []
    down: list[float] = []
    committed: list[artifact_pb2.Artifact] = []

    async def upload() -> None:
        committed.append(await ours.upload(body, digest))

    for _ in range(ROUNDS):
        baseline, before = await _seconds(lambda: raw.upload(body)), _cpu(pid)
        own = await _seconds(upload)
        up.append(_print_rate("upload", own, baseline, _cpu(pid) - before))
        baseline, before = await _seconds(raw.download), _cpu(pid)
        own = await _seconds(lambda: ours.download(committed[-1].path))
        down.append(_print_rate("download", own, baseline, _cpu(pid) - before))
    goals.at_least("upload", statistics.median(up), 0.8)
    goals.at_least("download", statistics.median(down), 0.6)


def _print_rate(what: str, own: float, baseline: float, cpu: float) -> float:
    size, ratio = LARGE_BYTES / (1 << 20), baseline / own
    print(
        f"{what:8} MiB/s: ours {size / own:5.0f}   raw {size / baseline:5.0f}   ratio {ratio:.2f}"
        f"   server CPU {cpu * 1024 / size:.1f} s/GiB"
    )
    return ratio


async def _small(ours: Ours, raw: Raw, pid: int, goals: Goals) -> None:
    ratios: dict[int, list[float]] = {1: [], 100: []}
    for _ in range(ROUNDS):
        baseline = SMALL_FILES / await _seconds(lambda: _at_once(raw.put, SMALL_FILES))
        for count, found in ratios.items():
            before = _cpu(pid)
            seconds = await _seconds(
                lambda count=count: _at_once(lambda: ours.put(count), SMALL_FILES // count)
            )
            own = SMALL_FILES / seconds
            found.append(own / baseline)
            print(
                f"files/s in batches of {count:3}: ours {own:5.0f}   raw {baseline:5.0f}"
                f"   ratio {found[-1]:.2f}"
                f"   server CPU {(_cpu(pid) - before) * 1e3 / SMALL_FILES:.2f} ms a file"
            )
    for count, goal in ((100, 0.8), (1, 0.5)):
        goals.at_least(f"small files in batches of {count}", statistics.median(ratios[count]), goal)


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


def _cpu(pid: int) -> float:
    """Return the processor seconds that a process has used; 0 where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _upload(
    upload_id: str, body: bytes
) -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
    yield artifact_service_pb2.UploadArtifactRequest(tenant_id=TENANT, upload_id=upload_id)
    for start in range(0, len(body), _PIECE):
        yield artifact_service_pb2.UploadArtifactRequest(data=body[start : start + _PIECE])


async def _held_run(nagaya: Client) -> str:
    """Create a run that waits for its input for ever; return its id."""
    await nagaya.tenants.CreateTenant(
        tenant_service_pb2.CreateTenantRequest(
            tenant_id=TENANT, request_id=TENANT, name="Benchmark"
        )
    )
    step = pipeline_pb2.StepSpec(
        step="only", function=pipeline_pb2.FunctionStep(function="constant", short=True)
    )
    await nagaya.pipelines.CreatePipelineVersion(
        pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=TENANT,
            request_id="bench",
            pipeline="only",
            spec=pipeline_pb2.PipelineSpec(steps=[step]),
        )
    )
    created = await nagaya.runs.CreateRun(
        run_service_pb2.CreateRunRequest(
            tenant_id=TENANT, request_id=uuid.uuid4().hex, pipeline="only", hold=True
        )
    )
    return created.run.run_id


if __name__ == "__main__":
    part.run(main)
