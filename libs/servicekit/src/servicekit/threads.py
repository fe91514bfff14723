"""Opening in a thread what may be slow to open, such as a file."""

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


def _close(done: asyncio.Future[T], close: Callable[[T], object]) -> None:
    if not done.cancelled() and done.exception() is None:
        close(done.result())
