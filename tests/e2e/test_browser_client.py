"""The example's page in headless Chromium, through Envoy's gRPC-Web and CORS."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import brief, load_article
from tests.support.public_api import create_tenant
from tests.support.typescript import build_client

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.runs.v1 import run_service_pb2
from nagaya_client.transfer import UploadTarget
from nagaya_local.clone.tokens import issue_tenant_token

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

pytestmark = pytest.mark.timeout(300)  # what npm fetches and unpacks once


@pytest.fixture(scope="module")
def programs() -> Path:
    return build_client() / "dist"


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "web")
    await load_article(client, tenant_id)
    return tenant_id


@pytest.fixture
async def page(programs: Path, stack: LocalStack) -> AsyncIterator[str]:
    """The address of the page, served on this machine."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(programs / "examples" / "browser" / "serve.js"),
        "0",
        env=os.environ | stack.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    yield (await process.stdout.readline()).decode().strip()
    process.kill()
    await process.wait()


@asynccontextmanager
async def opened(
    programs: Path, stack: LocalStack, page: str, tenant_id: str, **fields: str
) -> AsyncGenerator[Process]:
    """Open the page in a browser, fill it in and start; what it shows comes line by line."""
    token = issue_tenant_token(stack.layout, tenant_id).read_text().strip()
    given = {"tenant": tenant_id, "token": token, "pipeline": "article", **fields}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(programs / "test" / "browser.js"),
        page,
        json.dumps(given),
        env=os.environ | stack.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def shown(process: Process) -> list[str]:
    out, errors = (part.decode() for part in await process.communicate())
    assert (process.returncode, errors) == (0, "")
    return out.splitlines()


async def test_a_page_creates_a_run_watches_it_and_gets_its_result(
    programs: Path, stack: LocalStack, client: Client, page: str, tenant_id: str
) -> None:
    given = {"input": json.dumps(brief())}
    async with opened(programs, stack, page, tenant_id, **given) as process:
        lines = await shown(process)

    events = list(itertools.takewhile(lambda line: line[0].isdigit(), lines))
    outcome, *article = lines[len(events) :]
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert events[-1].endswith(" run COMPLETED")
    _, run_id, path, size, _ = outcome.split()
    assert path == f"storage/{tenant_id}/{run_id}/polish/output.json"
    request = artifact_service_pb2.GetArtifactRequest(tenant_id=tenant_id, path=path)
    artifact = (await client.artifacts.GetArtifact(request)).artifact
    assert int(size) == artifact.size_bytes
    assert "\n".join(article) == json.loads(stack.file(path).read_text())
    given_file = stack.file(f"storage/{tenant_id}/{run_id}/input/output.json")
    assert json.loads(given_file.read_text()) == brief()


async def test_a_page_takes_a_watch_up_again_whose_server_died(
    programs: Path, stack: LocalStack, client: Client, page: str, tenant_id: str, tmp_path: Path
) -> None:
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=tenant_id, pipeline="article", hold=True
    )
    run_id = (await client.runs.CreateRun(request)).run.run_id
    async with opened(programs, stack, page, tenant_id, run=run_id) as process:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode().strip()
        os.kill(json.loads(stack.layout.pids.read_text())["runs"], signal.SIGKILL)
        file = tmp_path / "brief.json"
        file.write_text(json.dumps(brief()))
        await client.upload(tenant_id, UploadTarget(run_id, "input"), file)
        start = run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id)
        await client.runs.StartRun(start)
        lines = [first, *await shown(process)]

    events = list(itertools.takewhile(lambda line: line[0].isdigit(), lines))
    outcome = lines[len(events)]
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert outcome.startswith(f"COMPLETED {run_id} ")


async def test_a_page_reads_the_reason_of_a_refusal(
    programs: Path, stack: LocalStack, page: str, tenant_id: str
) -> None:
    async with opened(programs, stack, page, tenant_id, pipeline="nosuch") as process:
        outcome, *_ = await shown(process)

    assert outcome.startswith("refused: NotFound ERROR_REASON_PIPELINE_NOT_FOUND: ")


async def test_a_page_of_another_origin_gets_nothing(
    programs: Path, stack: LocalStack, client: Client, page: str, tenant_id: str
) -> None:
    stranger = page.replace("127.0.0.1", "evil.test")
    async with opened(programs, stack, stranger, tenant_id) as process:
        outcome, *_ = await shown(process)

    assert outcome.startswith("refused: Unavailable: ")
    assert "NAGAYA_WEB_ORIGINS" in outcome
    listed = await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
    assert list(listed.runs) == []
