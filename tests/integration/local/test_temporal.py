"""Where the Temporal binary comes from, and what the server keeps."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError

from nagaya_local.errors import TemporalMissing
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.machine.watched import Silent, run_watched
from nagaya_local.parts.temporal import TemporalServer
from nagaya_local.parts.temporal_binary import TemporalFinder

if TYPE_CHECKING:
    from pathlib import Path


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self, text: str) -> None:
        await asyncio.sleep(60)


def _fake(path: Path, server: str) -> Path:
    """Write a program that calls itself Temporal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'temporal version 1.5.1 (Server {server}, UI 2.42.1)'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nothing_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without temporal and go, and a network that leads nowhere; returns its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    return folder


async def test_a_binary_on_path_comes_before_the_cache(
    tmp_path: Path, nothing_on_path: Path
) -> None:
    finder = TemporalFinder(tmp_path)
    _fake(finder.cached, "1.29.1")
    on_path = _fake(nothing_on_path / "temporal", "1.30.2")

    found = await finder.find()

    assert (found.path, found.server) == (on_path, (1, 30))


async def test_histories_are_read_by_the_server_that_wrote_them(
    tmp_path: Path, nothing_on_path: Path
) -> None:
    finder = TemporalFinder(tmp_path)
    cached = _fake(finder.cached, "1.29.1")
    _fake(nothing_on_path / "temporal", "1.30.2")

    assert (await finder.find(written_by=(1, 29))).path == cached


async def test_an_old_binary_is_passed_over(tmp_path: Path, nothing_on_path: Path) -> None:
    finder = TemporalFinder(tmp_path)
    cached = _fake(finder.cached, "1.29.1")
    _fake(nothing_on_path / "temporal", "1.24.0")

    assert (await finder.find()).path == cached


@pytest.mark.usefixtures("nothing_on_path")
async def test_when_no_way_leads_to_a_binary_each_is_named_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(TemporalMissing) as missing:
        await TemporalFinder(tmp_path).find()

    for way in ("PATH: no `temporal`", "nothing there", "download: ", "go install: no `go`"):
        assert way in missing.value.message
    assert "TEMPORAL_ADDRESS" in missing.value.remedy


async def test_a_command_that_hangs_is_ended() -> None:
    began = time.monotonic()

    with pytest.raises(Silent, match="no progress for 1 s; last: downloading"):
        await run_watched(("sh", "-c", "echo downloading; sleep 30"), {}, 1.0, lambda _: None)

    assert time.monotonic() - began < 5


async def test_two_clones_that_need_a_binary_make_it_once(
    tmp_path: Path, nothing_on_path: Path
) -> None:
    made = tmp_path / "made"
    go = nothing_on_path / "go"
    go.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = install ]; then\n'
        f"  echo once >> {made}; /bin/sleep 0.5\n"
        "  printf '#!/bin/sh\\necho \"(Server 1.29.1, UI)\"\\n' > $GOBIN/temporal\n"
        "fi\n"
    )
    go.chmod(0o755)
    heard: list[str] = []

    found = await asyncio.gather(*(TemporalFinder(tmp_path, heard.append).find() for _ in "ab"))

    assert [binary.path.name for binary in found] == ["temporal", "temporal"]
    assert made.read_text() == "once\n"
    assert any("waiting for another clone" in line for line in heard)


async def test_histories_survive_a_restart(tmp_path: Path) -> None:
    async def serve() -> TemporalServer:
        return TemporalServer(TemporalFinder(), tmp_path / "a folder", free_port())

    async with running(await serve(), tmp_path / "temporal.log") as first:
        client = await Client.connect(first.address)
        await client.start_workflow(Waiting.run, "text", id="kept", task_queue="nobody")
    async with running(await serve(), tmp_path / "temporal.log") as second:
        client = await Client.connect(second.address)
        described = await client.get_workflow_handle("kept").describe()

    assert described.status is not None
    assert described.status.name == "RUNNING"


async def test_a_body_is_refused_by_the_server_itself(temporal: TemporalServer) -> None:
    client = await Client.connect(temporal.address)

    with pytest.raises(RPCError, match="Blob data size exceeds limit"):
        await client.start_workflow(
            Waiting.run,
            "a body " * 40_000,
            id="refused",
            task_queue="nobody",
            execution_timeout=timedelta(seconds=5),
        )
