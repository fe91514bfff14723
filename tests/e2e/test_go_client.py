"""The examples of the Go client, built here: direct and through Envoy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE, PIPELINE, check_output, load_article
from tests.e2e.go_programs import CLIENT, start
from tests.support.public_api import create_tenant

from nagaya.runs.v1 import run_service_pb2
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

# The first build fetches and compiles gRPC for Go: two minutes on two cores, once.
pytestmark = pytest.mark.timeout(600)


def test_the_committed_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    buf = Path(sys.executable).with_name("buf")
    subprocess.run((buf, "generate", "--output", tmp_path), cwd=CLIENT, check=True)

    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.go")}
    committed = {path.relative_to(CLIENT): path.read_bytes() for path in CLIENT.glob("gen/**/*.go")}
    assert made == committed


def test_its_own_tests_pass() -> None:
    """Against a server that a test scripts: retries, watches that break, damaged files."""
    go = shutil.which("go")
    assert go is not None, "Go is needed: https://go.dev/dl"
    for command in (("vet",), ("test", "-count=1")):
        done = subprocess.run(
            (go, *command, "./..."), cwd=CLIENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "through Envoy"])
async def test_the_example_does_the_whole_main_job(
    go_programs: Path, stack: LocalStack, tmp_path: Path, *, direct: bool
) -> None:
    target = tmp_path / "article.json"
    arguments = ("-folder", str(EXAMPLE), "-to", str(target))
    process = await start(go_programs / "article", stack, *arguments, direct=direct)
    out, errors = (part.decode() for part in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    check_output(stack, out, target, request_id="[0-9A-Z]{26}")


@pytest.fixture
async def held(client: Client) -> tuple[str, str]:
    """A tenant, and a run of it that waits for its input."""
    tenant_id = await create_tenant(client, "go")
    await load_article(client, tenant_id)
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id="held", pipeline=PIPELINE, hold=True
    )
    return tenant_id, (await client.runs.CreateRun(request)).run.run_id


async def release(client: Client, tenant_id: str, run_id: str) -> None:
    await client.upload(
        tenant_id, UploadTarget(run_id, "input"), EXAMPLE / "briefs" / "heat-pumps.json"
    )
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))


async def test_a_watch_whose_server_died_goes_on_without_a_gap(
    go_programs: Path, stack: LocalStack, client: Client, held: tuple[str, str]
) -> None:
    tenant_id, run_id = held
    process = await start(go_programs / "watch", stack, "-tenant", tenant_id, "-run", run_id)
    assert process.stdout is not None
    assert process.stderr is not None
    first_event = await process.stdout.readline()
    os.kill(json.loads(stack.layout.pids.read_text())["runs"], signal.SIGKILL)
    assert b"the connection broke, and is opened again" in await process.stderr.readline()

    await release(client, tenant_id, run_id)
    out, _ = (part.decode() for part in await process.communicate())

    assert process.returncode == 0
    events = [first_event.decode(), *out.splitlines()]
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert events[-1].endswith(" RUN_STATE_COMPLETED")
