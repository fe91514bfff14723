"""What a process does again and again outlives errors, and is stopped with what is under way."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from servicekit.errors import DatabaseUnavailable
from servicekit.periodic import PeriodicTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

SECONDS = 0.001
_log = logging.getLogger("probe")


class Action:
    """Raises these errors in turn, then succeeds; tells when it has been called so often."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self._calls = 0
        self._called = asyncio.Event()
        self.begun_at: list[float] = []

    async def __call__(self) -> None:
        self.begun_at.append(asyncio.get_running_loop().time())
        self._calls += 1
        self._called.set()
        if self._errors:
            raise self._errors.pop(0)

    async def called(self, times: int) -> None:
        async with asyncio.timeout(60):
            while self._calls < times:
                self._called.clear()
                await self._called.wait()


def task(
    action: Callable[[], Awaitable[None]], seconds: float = SECONDS, *, wait_first: bool = False
) -> PeriodicTask:
    return PeriodicTask(
        action,
        seconds,
        _log,
        "probe.unavailable",
        "it is away",
        transient=(DatabaseUnavailable, OSError),
        wait_first=wait_first,
    )


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, vars(record)["event"]) for record in caplog.records]


async def test_it_is_done_at_once_and_again(caplog: pytest.LogCaptureFixture) -> None:
    action = Action()
    started_at = asyncio.get_running_loop().time()
    periodic = task(action, 0.05)
    periodic.start()
    await action.called(4)
    await periodic.stop()

    assert action.begun_at[3] - started_at >= 3 * 0.75 * 0.05
    assert not caplog.records


async def test_an_outage_is_logged_once_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = PermissionError(13, "Permission denied", "/srv/bundles")
    action = Action(refused, DatabaseUnavailable("away"), refused)
    periodic = task(action)
    periodic.start()
    await action.called(6)
    await periodic.stop()

    assert events(caplog) == [("WARNING", "probe.unavailable"), ("INFO", "probe.recovered")]
    assert vars(caplog.records[0])["why"] == "Permission denied"


async def test_a_defect_is_logged_with_its_place_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    action = Action(LookupError("a defect"))
    periodic = task(action)
    periodic.start()
    await action.called(3)
    await periodic.stop()

    assert events(caplog) == [("ERROR", "probe.failed")]
    assert caplog.records[0].exc_info is not None


async def test_what_is_to_wait_first_does() -> None:
    action = Action()
    waiting, loop = task(action, 0.1, wait_first=True), asyncio.get_running_loop()
    started_at = loop.time()
    waiting.start()
    await action.called(1)
    await waiting.stop()

    assert action.begun_at[0] - started_at >= 0.07


async def test_every_zero_seconds_is_never() -> None:
    action = Action()
    never = task(action, 0.0)
    never.start()
    await asyncio.sleep(0)
    await never.stop()

    assert not action.begun_at


async def test_stopping_cancels_what_is_under_way_and_awaits_its_end() -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    periodic = task(hang)
    periodic.start()
    await begun.wait()
    await periodic.stop()

    assert ended == ["ended"]
