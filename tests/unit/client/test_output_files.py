"""Where an answer cannot be written, a sentence says so, and the exit code is the promised one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api

PATH = "storage/acme/0192f0c1-2345-7000-8000-000000000001/outline/output.json"
pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize("count", [1, 2000], ids=["less than a buffer", "more"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_behind_standard_output(api: Api, count: int) -> None:
    runs = [run_pb2.Run(run_id=f"run-{number}") for number in range(count)]
    api.on("ListRuns", run_service_pb2.ListRunsResponse(runs=runs))
    command = (sys.executable, "-m", "nagaya_client.cli", "run", "list", "-t", "acme")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--limit", "5000"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ,
        )

    assert done.stderr == "error: No space left on device\n"
    assert done.returncode == 2


def test_a_folder_that_is_not_there_is_named(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "nodir" / "x.json"

    assert run(["artifact", "get", PATH, "--to", str(target)]) == 2
    expected = f"error: {target}: there is no folder {target.parent}\n"
    assert capsys.readouterr().err == expected
    assert api.calls == []


def test_a_file_in_the_way_of_a_folder_is_reported_by_the_name_that_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "x.json"

    assert run(["artifact", "get", PATH, "--to", str(target)]) == 2
    assert capsys.readouterr().err == f"error: {target}: Not a directory\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('"An article.\\nWith \\"quotes\\"."', 'An article.\nWith "quotes".\n'),
        ('{"a": 1}', '{"a": 1}'),
        ("no JSON", "no JSON"),
    ],
)
def test_a_json_string_is_shown_as_its_text_when_asked_for_raw(
    api: Api, content: str, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = content.encode()
    digest = hashlib.sha256(data).hexdigest()
    record = artifact_pb2.Artifact(path=PATH, digest=digest, size_bytes=len(data))
    pieces = [
        artifact_service_pb2.DownloadArtifactResponse(artifact=record),
        artifact_service_pb2.DownloadArtifactResponse(data=data[:3]),
        artifact_service_pb2.DownloadArtifactResponse(data=data[3:]),
    ]
    api.on("DownloadArtifact", pieces)

    assert run(["artifact", "cat", PATH, "--raw"]) == 0
    assert capfd.readouterr().out == expected
    assert run(["artifact", "cat", PATH]) == 0
    assert capfd.readouterr().out == content


def test_a_time_that_is_too_short_says_which_option(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListRuns", lambda _: asyncio.Event().wait())

    assert run(["run", "list", "-t", "acme", "--timeout", "0.05"]) == 6
    assert "hint: Allow it more time with --timeout" in capsys.readouterr().err
