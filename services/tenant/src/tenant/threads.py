"""Calls in threads that outlive the cancellation of who waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def opened(open_: Callable[[], T], close: Callable[[T], object]) -> T:
    """Call `open_` in a thread, and return what it has opened; the caller closes that.

    What it opens only after the caller was cancelled is closed by `close`, in the event loop's
    thread: `asyncio.to_thread` would leave it to nobody. Raises what `open_` raises.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, open_)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: _close(done, close))
        raise


async def completed(call: Callable[[], object]) -> None:
    """Make a call in a thread, and return, or raise what it raises, when it has ended.

    So it does when it is cancelled once: whoever cleans up then finds all that the call does.
    """
    calling = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.gather(calling, return_exceptions=True)
        raise


def _close(done: asyncio.Future[T], close: Callable[[T], object]) -> None:
    if not done.cancelled() and done.exception() is None:
        close(done.result())
