"""The example of the Java client, built here with the client's own tests: direct and by Envoy."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.stack import LocalStack

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "java"

# The first build fetches gRPC and Maven's plugins from Maven Central, once.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def java_program() -> Sequence[str]:
    """The command that runs the example; its build includes the tests of the client."""
    maven, java = shutil.which("mvn"), shutil.which("java")
    assert maven is not None and java is not None, "Maven and Java 17 are needed"  # noqa: PT018
    build = (maven, "--batch-mode", "--no-transfer-progress", "--quiet", "package")
    done = subprocess.run(build, cwd=CLIENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    jars = (
        *CLIENT.glob("example/target/nagaya-example-*.jar"),
        *CLIENT.glob("client/target/nagaya-client-*.jar"),
        *CLIENT.glob("example/target/libraries/*.jar"),
    )
    return (java, "-cp", os.pathsep.join(map(str, jars)), "dev.nagaya.example.Article")


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "through Envoy"])
async def test_the_example_does_the_whole_main_job(
    java_program: Sequence[str], stack: LocalStack, tmp_path: Path, *, direct: bool
) -> None:
    target = tmp_path / "article.json"
    process = await asyncio.create_subprocess_exec(
        *(*java_program, str(EXAMPLE), str(target)),
        env=os.environ | stack.environment(direct=direct),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = (part.decode() for part in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    tenant, pipeline, run, uploaded, *events, cost, result, refused = out.splitlines()
    assert pipeline == "pipeline article version 1"
    tenant_id, run_id = tenant.removeprefix("tenant "), run.removeprefix("run ")
    path = f"storage/{tenant_id}/{run_id}/input/output.json"
    assert uploaded == f"input {path} {sha256(EXAMPLE / 'briefs' / 'heat-pumps.json')}"
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert "polish 0 STEP_STATE_COMPLETED openai/gpt-6.2-sol" in events[-2]
    assert events[-1].endswith(" RUN_STATE_COMPLETED")
    assert re.fullmatch(r"cost \$0\.\d{4} for \d+ tokens", cost)
    stored = stack.file(f"storage/{tenant_id}/{run_id}/polish/output.json").read_bytes()
    assert target.read_bytes() == stored
    assert result == f"result {target} {len(stored)} bytes {sha256(target)}"
    assert re.fullmatch(
        r"refused ERROR_REASON_PIPELINE_NOT_FOUND no-such-pipeline [0-9a-f-]{36}", refused
    )
    assert stack.requests_of(run_id) > 0


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
