"""A client in Go, generated from the contracts and built here, through Envoy with a token."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE, load_article
from tests.support.public_api import create_tenant

from nagaya.runs.v1 import run_service_pb2
from nagaya_client.transfer import UploadTarget
from nagaya_local.clone.tokens import issue_tenant_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

CLONE = Path(__file__).resolve().parents[2]
BRIEF = EXAMPLE / "briefs" / "heat-pumps.json"
# Longer than any default of Envoy's that could cut a stream: the shortest is 15 s.
SILENT_SECONDS = 40

# The first build fetches and compiles gRPC for Go: two minutes on two cores, once.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built from code that is generated now."""
    go = shutil.which("go")
    assert go is not None, "Go 1.24 or newer is needed: https://go.dev/dl"
    module = tmp_path_factory.mktemp("go")
    generate = (sys.executable, str(CLONE / "clients" / "go" / "generate.py"), str(module))
    subprocess.run(generate, check=True)
    build = (go, "build", "-mod=readonly", "-o", "example-program", "./example")
    subprocess.run(build, cwd=module, check=True)
    return module / "example-program"


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "go")
    await load_article(client, tenant_id)
    return tenant_id


def settings(stack: LocalStack, tenant_id: str) -> Mapping[str, str]:
    token = issue_tenant_token(stack.layout, tenant_id)
    own = {"NAGAYA_RUNS_ADDRESS": stack.endpoints.runs, "NAGAYA_TOKEN_FILE": str(token)}
    return os.environ | own


async def start(
    program: Path, stack: LocalStack, tenant_id: str, *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        program,
        *("-tenant", tenant_id, "-pipeline", "article", *arguments),
        env=settings(stack, tenant_id),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_go_client_creates_a_run_and_watches_it_to_the_end(
    program: Path, stack: LocalStack, tenant_id: str
) -> None:
    process = await start(program, stack, tenant_id, "-input", str(BRIEF))
    out, errors = (part.decode() for part in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    first, *events = out.splitlines()
    assert re.fullmatch(r"run [0-9a-f-]{36}", first)
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert "polish 0 STEP_STATE_COMPLETED openai/gpt-6.2-sol" in out
    assert events[-1].endswith(" RUN_STATE_COMPLETED")


async def test_a_watch_is_not_cut_while_nothing_happens(
    program: Path, stack: LocalStack, client: Client, tenant_id: str
) -> None:
    process = await start(program, stack, tenant_id, "-hold")
    assert process.stdout is not None
    run_id = (await process.stdout.readline()).decode().split()[1]

    await asyncio.sleep(SILENT_SECONDS)
    await client.upload(tenant_id, UploadTarget(run_id, "input"), BRIEF)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
    out, errors = (part.decode() for part in await process.communicate())

    # A broken stream would be taken up again, and told on stderr.
    assert (process.returncode, errors) == (0, "")
    assert out.splitlines()[-1].endswith(" RUN_STATE_COMPLETED")


async def test_a_go_client_takes_a_watch_up_again_whose_server_died(
    program: Path, stack: LocalStack, client: Client, tenant_id: str
) -> None:
    process = await start(program, stack, tenant_id, "-hold")
    assert process.stdout is not None
    run_id = (await process.stdout.readline()).decode().split()[1]
    first_event = await process.stdout.readline()
    os.kill(json.loads(stack.layout.pids.read_text())["runs"], signal.SIGKILL)
    assert process.stderr is not None
    assert (
        b"the stream broke after event 1 and is taken up again" in await process.stderr.readline()
    )

    await client.upload(tenant_id, UploadTarget(run_id, "input"), BRIEF)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
    out, _ = (part.decode() for part in await process.communicate())

    assert process.returncode == 0
    assert first_event.startswith(b"1 ")
    assert out.splitlines()[-1].endswith(" RUN_STATE_COMPLETED")


async def test_a_go_client_reads_the_reason_of_a_refusal(
    program: Path, stack: LocalStack, tenant_id: str
) -> None:
    process = await start(program, stack, tenant_id, "-pipeline", "nosuch", "-input", str(BRIEF))
    _, errors = await process.communicate()

    assert process.returncode == 1
    assert errors.decode().startswith("ERROR_REASON_PIPELINE_NOT_FOUND: ")
