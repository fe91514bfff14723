"""Polling for what announces nothing: the end of another process, a lock, a log line."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_SECONDS = 0.03


async def until(condition: Callable[[], bool], seconds: float = math.inf) -> bool:
    """Return when the condition holds, or has not for so long; whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True
