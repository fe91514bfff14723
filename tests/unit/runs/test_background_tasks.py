"""What goes on in the background of the processes outlives errors that nobody expected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

from runs.api.relay.deployments import DeploymentCleaner
from runs.api.schedule_worker import ScheduleWorker
from runs.domain.installed import Installed
from runs.domain.run_shares import RunDemand
from runs.domain.tenant_limits import TenantLimits
from runs.tenant_limit_cache import TenantLimitCache
from runs.worker.registration import Registration

if TYPE_CHECKING:
    import pytest


class Failing:
    """Fails as by a defect whenever it is called, and notes the third time."""

    def __init__(self) -> None:
        self.third = asyncio.Event()
        self._calls = 0

    async def __call__(self) -> Any:  # noqa: ANN401 - it never returns
        self._calls += 1
        if self._calls == 3:
            self.third.set()
        raise LookupError("a defect")


async def happens_again(background: Any, failing: Failing) -> None:  # noqa: ANN401 - any of them
    background.start()
    try:
        async with asyncio.timeout(20):
            await failing.third.wait()
    finally:
        await background.stop()


async def test_limits_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.tenant_limit_cache._SECONDS", 0.0)
    failing, management = Failing(), object()
    cache = TenantLimitCache(management)  # pyright: ignore[reportArgumentType] - it is not asked
    monkeypatch.setattr(cache, "refresh", failing)
    monkeypatch.setattr("runs.store.run_demand.SECONDS", 0.0)
    cache._usual = TenantLimits(demands={"": [RunDemand("bolt", 1_000, 1.0)]})
    await happens_again(cache, failing)
    assert not cache.are_known()
    assert cache.of("acme").demands == {}  # what was read last is too old


async def test_versions_of_workers_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.api.relay.deployments._SECONDS", 0.001)
    failing = Failing()

    class Deployments:
        remove_drained = failing

    cleaner = DeploymentCleaner(Deployments())  # pyright: ignore[reportArgumentType]
    await happens_again(cleaner.task, failing)


async def test_the_worker_for_schedules_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.api.schedule_worker._RESTART_SECONDS", 0.0)
    failing, runs = Failing(), object()
    worker = ScheduleWorker(failing, "queue", runs)  # pyright: ignore[reportArgumentType] - it is not asked
    await happens_again(worker, failing)


async def test_a_worker_goes_on_recording_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.worker.registration._RETRY_SECONDS", 0.0)
    failing = Failing()
    monkeypatch.setattr("runs.store.workers.put", lambda *_: failing())
    monkeypatch.setattr("runs.store.workers.remove", AsyncMock())
    installed = Installed(frozenset(), frozenset(), {})
    registration = Registration(MagicMock(), "queue", installed, 100, 75)
    async with asyncio.timeout(20), registration.running():
        await failing.third.wait()
