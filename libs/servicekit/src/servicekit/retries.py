"""Retries with exponential backoff, and log lines that a long outage does not repeat."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from servicekit.errors import DomainError

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Iterator

    Transient: TypeAlias = (
        type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
    )

T = TypeVar("T")

_REPEAT_SECONDS = 60.0
_LONGEST_DELAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `first`, then twice as long each time, up to `most`.

    Each is shortened by up to a half at random, so that processes that failed together do not try
    again together.
    """

    first: float = 0.1
    most: float = 1.0

    def delays(self) -> Iterator[float]:
        """Yield the delays, without end."""
        delay = self.first
        while True:
            yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - a jitter
            delay = min(2 * delay, self.most)


class RetryLog:
    """Logs an event when something begins to fail, once a minute while it does, and when it ends.

    `event` is logged as a warning, such as `tenant_registry.unavailable`. The end is logged as an
    information, here `tenant_registry.recovered`. `fields` are added to both.
    """

    def __init__(self, logger: logging.Logger, event: str, message: str, **fields: object) -> None:
        self._logger = logger
        self._event = event
        self._message = message
        self._fields = fields
        self._since: float | None = None
        self._logged_at = -inf

    def failed(self, error: BaseException) -> None:
        """Note a failure. Of an error that is not ours no text is logged but the system's own."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._logged_at < _REPEAT_SECONDS:
            return
        self._logged_at = now
        fields = {"event": self._event, **self._fields, **_about(error)}
        self._logger.warning(self._message, extra={**fields, "seconds": self._seconds()})

    def succeeded(self) -> None:
        """Note a success."""
        if self._since is None:
            return
        event = self._event.partition(".")[0] + ".recovered"
        fields = {"event": event, **self._fields, "seconds": self._seconds()}
        self._logger.info("recovered: %s", self._message, extra=fields)
        self._since, self._logged_at = None, -inf

    def defect(self, error: BaseException) -> None:
        """Log an error that nobody expected, with its stack trace, as `x.failed`."""
        fields = {"event": self._event.partition(".")[0] + ".failed", **self._fields}
        self._logger.error("a defect: %s", self._message, exc_info=error, extra=fields)

    def _seconds(self) -> float:
        return round(time.monotonic() - (self._since or 0.0), 1)


DEFAULT_BACKOFF = Backoff()


async def retry(
    action: Callable[[], Awaitable[T]],
    transient: Transient,
    log: RetryLog,
    *,
    backoff: Backoff = DEFAULT_BACKOFF,
    timeout_seconds: float = inf,
) -> T:
    """Await `action()` until it succeeds, with a delay after each transient error.

    `transient` names the classes of such errors, or decides. A delay is as long as `backoff` says,
    or as the error asks for by `retry_after_ms` (a day at most), whichever is longer. Raises an
    error that is not transient, and the last one when the next attempt would begin more than
    `timeout_seconds` after the first.
    """
    end = time.monotonic() + timeout_seconds
    delays = backoff.delays()
    while True:
        try:
            result = await action()
        except Exception as error:
            delay = max(next(delays), min(retry_after_seconds(error), _LONGEST_DELAY))
            if not is_transient(error, transient) or time.monotonic() + delay > end:
                raise
            log.failed(error)
        else:
            log.succeeded()
            return result
        await asyncio.sleep(delay)


def retry_after_seconds(error: BaseException) -> float:
    """Return how long an error asks its caller to wait (`retry_after_ms`); 0 when it does not."""
    given = error.metadata.get("retry_after_ms", "") if isinstance(error, DomainError) else ""
    return int(given) / 1000 if given.isdecimal() else 0.0


def is_transient(error: Exception, transient: Transient) -> bool:
    """Return whether an error is one of those that pass."""
    if isinstance(transient, (type, tuple)):
        return isinstance(error, transient)
    return transient(error)


def _about(error: BaseException) -> dict[str, str]:
    if isinstance(error, DomainError):
        return {"reason": error.reason, "why": error.message}
    if isinstance(error, OSError) and error.strerror:
        return {"reason": type(error).__name__, "why": error.strerror}
    return {"reason": type(error).__name__}
