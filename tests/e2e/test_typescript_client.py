"""The TypeScript client in Node, generated and built here, direct and through Envoy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import brief, load_article
from tests.support.public_api import create_tenant
from tests.support.typescript import build_client

from nagaya.runs.v1 import run_service_pb2
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

pytestmark = pytest.mark.timeout(300)  # what npm fetches and unpacks once


@pytest.fixture(scope="module")
def examples() -> Path:
    return build_client() / "dist" / "examples"


@pytest.fixture(params=["direct", "envoy"])
def way(request: pytest.FixtureRequest) -> str:
    """Whether the services are called themselves, or through Envoy."""
    return request.param


async def start(examples: Path, stack: LocalStack, way: str, name: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        "node",
        str(examples / f"{name}.js"),
        *arguments,
        env=os.environ | stack.environment(direct=way == "direct"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_typescript_client_does_the_whole_main_job(
    examples: Path, stack: LocalStack, client: Client, tmp_path: Path, way: str
) -> None:
    tenant_id, file = f"ts-{way}", tmp_path / "article.json"
    process = await start(examples, stack, way, "article", tenant_id, str(file))
    out, errors = (part.decode() for part in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    tenant, run, *events, shown_file, cost, refusal = out.splitlines()
    assert tenant.startswith(f"tenant {tenant_id} database t_")
    run_id = run.removeprefix("run ")
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert events[-1].endswith(" run COMPLETED")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert shown_file.endswith(f"{file.stat().st_size} bytes, sha256 {digest}")
    assert refusal.startswith("refused ERROR_REASON_PIPELINE_NOT_FOUND: ")
    # What others see of it: the tenant's own database, the store, and the provider.
    database = await stack.database(client, tenant_id)
    try:
        status = await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
        micro_usd = await database.fetchval("SELECT cost_micro_usd FROM runs WHERE id = $1", run_id)
        path = await database.fetchval(
            "SELECT file_path FROM artifacts WHERE run_id = $1 AND step = 'polish'", run_id
        )
    finally:
        await database.close()
    assert status == "completed"
    assert stack.file(path).read_bytes() == file.read_bytes()
    assert float(re.findall(r"\$([0-9.]+)", cost)[0]) * 1e6 == pytest.approx(micro_usd)
    assert stack.requests_of(run_id) == 2


async def test_a_typescript_client_takes_a_watch_up_again_whose_server_died(
    examples: Path, stack: LocalStack, client: Client, tmp_path: Path, way: str
) -> None:
    tenant_id = await create_tenant(client, "ts")
    await load_article(client, tenant_id)
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=tenant_id, pipeline="article", hold=True
    )
    run_id = (await client.runs.CreateRun(request)).run.run_id
    process = await start(examples, stack, way, "watch", tenant_id, run_id)
    assert process.stdout is not None
    assert process.stderr is not None
    first = await process.stdout.readline()

    os.kill(json.loads(stack.layout.pids.read_text())["runs"], signal.SIGKILL)
    assert (await process.stderr.readline()).startswith(b"broken: ")
    assert (await process.stderr.readline()).startswith(b"resumed after ")
    given = tmp_path / "brief.json"
    given.write_text(json.dumps(brief()))
    await client.upload(tenant_id, UploadTarget(run_id, "input"), given)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
    out, errors = (part.decode() for part in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    lines = [first.decode().strip(), *out.splitlines()]
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1].endswith(" COMPLETED")
