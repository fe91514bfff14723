"""Waiting for what other processes do: until it has happened, or cannot happen any more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ValueT = TypeVar("ValueT")
Reason: TypeAlias = "Callable[[], str]"
"""Says why what is awaited has become impossible; nothing while it may still happen."""


def possible() -> str:
    """Give no reason, for what only time can tell."""
    return ""


async def wait_until(
    condition: Callable[[], Awaitable[ValueT | None]],
    *,
    unless: Reason = possible,
    seconds: float = 60.0,
    pause: float = 0.02,
) -> ValueT:
    """Return the first value of a condition that is true, asking for it again and again.

    Only for what tells nobody that it happens, such as another process. Fails the test as soon as
    `unless` gives a reason, or after so many seconds.
    """
    last = time.monotonic() + seconds
    while True:
        reason = unless()  # before the condition: what has ended may have made it true at the end
        value = await condition()
        if value:
            return value
        assert not reason, f"it cannot happen any more: {reason}"
        assert time.monotonic() < last, f"it has not happened in {seconds} s; now it is {value!r}"
        await asyncio.sleep(pause)


def fewer_run(tasks: tuple[asyncio.Future[Any], ...], count: int = 1) -> Reason:
    """Give a reason once fewer than `count` of the tasks still run; none if there are no tasks."""

    def reason() -> str:
        if not tasks or sum(not task.done() for task in tasks) >= count:
            return ""
        return "; ".join(_outcome(task) for task in tasks if task.done())

    return reason


def _outcome(task: asyncio.Future[Any]) -> str:
    if task.cancelled():
        return "a task was cancelled"
    if (error := task.exception()) is not None:
        return f"a task raised {type(error).__name__}: {error}"
    return f"a task returned {task.result()!r}"
