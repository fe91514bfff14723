"""When a watch whose connection is broken begins its next stream, and when it gives up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_client.errors import ApiError

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Reconnects:
    """Whether the connection of a watch is broken, since when, and when it is opened again."""

    def __init__(
        self,
        reconnect_seconds: float,
        on_cut: Callable[[ApiError], None] | None = None,
        on_resumed: Callable[[float], None] | None = None,
    ) -> None:
        """`on_cut` is called with the reason of a break, `on_resumed` with its seconds."""
        self._reconnect_seconds = reconnect_seconds
        self._on_cut = on_cut
        self._on_resumed = on_resumed
        self._broken_since: float | None = None
        self._seconds = _FIRST_PAUSE_SECONDS
        self._least_seconds = 0.0

    def restored(self) -> None:
        """Note that the service has responded."""
        if self._broken_since is not None and self._on_resumed is not None:
            self._on_resumed(time.monotonic() - self._broken_since)
        self._broken_since = None
        self._seconds = _FIRST_PAUSE_SECONDS

    def broke(self, error: ApiError) -> None:
        """Note a break. Raises it when the error is not transient or the break lasts too long."""
        now = time.monotonic()
        first = self._broken_since is None
        since = now if self._broken_since is None else self._broken_since
        self._broken_since = since
        self._least_seconds = error.seconds_to_wait(0.0)
        if not error.transient or now + self._least_seconds - since > self._reconnect_seconds:
            raise error
        if first and self._on_cut is not None:
            self._on_cut(error)

    async def pause(self) -> None:
        """Wait before the next stream: each time longer, and as long as the service has said."""
        await asyncio.sleep(max(self._seconds, self._least_seconds))
        self._seconds = min(2 * self._seconds, _LONGEST_PAUSE_SECONDS)
        self._least_seconds = 0.0
