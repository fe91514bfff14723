"""The example of the Java client, built here with the client's own tests: direct and by Envoy."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE, check_output

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
    check_output(stack, out, target, request_id="[0-9a-f-]{36}")
