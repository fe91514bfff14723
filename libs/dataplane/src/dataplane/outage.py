"""Telling of something that is away, without telling it again every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_AGAIN_SECONDS = 60.0


class Outage:
    """Logs that something is away: at once, then once a minute, and when it is back."""

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._since: float | None = None
        self._told = 0.0

    def goes_on(self, **fields: object) -> None:
        """Note that it is away; `fields` go into the log line."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._told = now, now - _AGAIN_SECONDS
        if now - self._told >= _AGAIN_SECONDS:
            self._told = now
            seconds = round(now - self._since, 1)
            self._log.warning(self._message, extra={"seconds": seconds, **fields})

    def is_over(self) -> None:
        """Note that it is there."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            self._log.info("over: %s", self._message, extra={"seconds": seconds})
        self._since = None
