"""Timeouts of reading, of which many wait on one timer."""

from __future__ import annotations

import asyncio

import pytest

from llm_gateway.providers.timeouts import ReadTimeout, SharedTimeout


async def wait(shared: SharedTimeout, seconds: float) -> str:
    with shared.wait():
        await asyncio.sleep(seconds)
    return "in time"


async def test_what_takes_too_long_is_given_up_and_nothing_else() -> None:
    timeout = SharedTimeout(0.05)

    results = await asyncio.gather(
        wait(timeout, 60.0), wait(timeout, 0.0), wait(timeout, 60.0), return_exceptions=True
    )

    assert [type(result) for result in results] == [ReadTimeout, str, ReadTimeout]


async def test_a_task_can_go_on_after_its_wait_was_given_up() -> None:
    timeout = SharedTimeout(0.01)

    with pytest.raises(ReadTimeout):
        await wait(timeout, 60.0)

    assert await wait(timeout, 0.0) == "in time"
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancelled_task_stays_cancelled_when_its_timeout_expires_too() -> None:
    timeout = SharedTimeout(0.01)

    async def block() -> None:
        with timeout.wait():
            try:
                await asyncio.sleep(60.0)
            finally:
                await asyncio.sleep(60.0)  # until the timeout

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_ended_otherwise_keeps_its_error() -> None:
    timeout = SharedTimeout(60.0)

    with pytest.raises(ZeroDivisionError), timeout.wait():
        raise ZeroDivisionError
