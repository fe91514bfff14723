"""Chains the audit entries of the databases that a process uses, in the background.

A transaction only inserts its entries; a pass moves them into the chain. Every use of a database
makes a pass due, whether or not entries were written: so what a killed process has left is chained
by the next process that uses the database.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from dataplane import audit
from dataplane.connection_lease import ConnectionLease
from monitoring.metrics import AUDIT_CHAINED, AUDIT_LAG, AUDIT_OLDEST, AUDIT_UNCHAINED
from servicekit.errors import (
    DomainError,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    TenantNotActive,
    Unavailable,
)
from servicekit.retries import Backoff, RetryLog
from servicekit.times import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataplane.databases import Databases

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 0.75
_UNMIGRATED_SECONDS = 60.0
_REST = 4  # a pass that took long is followed by a pause of so many times its length
_AT_ONCE = 4
_PASS_SECONDS = 10.0
_STOP_SECONDS = 5.0
_KNOWN_DATABASES = 10_000
_BACKOFF = Backoff(1.0, 60.0)
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Log:
    """The audit log of one database, as far as this process knows."""

    used_at: float | None = None
    """The first use that no pass has begun after; None when no pass is needed."""
    due_at: float | None = None
    passing: bool = False
    passed_at: float = 0.0
    pause: float = _FIRST_SECONDS
    """How long after the last pass the next one may begin."""
    remaining: int = 0
    retries: Iterator[float] | None = None
    """The delays until the next attempts, while passes fail."""
    stuck: bool = False
    """Whether they fail although the database can be reached."""


class AuditChainer:
    """Has a pass of each database 0.25 s after its use; after passes in vain up to 0.75 s.

    There is one pass of a database at a time, four in all, and one of those that failed before.
    While no database is used there is no task and no timer.

    A database that cannot be reached is tried again after 1 to 60 s, and as soon as it is used. One
    that has no `audit_chain` yet is tried once a minute while it is used, and one whose tenant is
    not active when it is used again.
    """

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._logs: dict[str, _Log] = {}
        self._due: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._passes: set[asyncio.Task[None]] = set()
        self._retrying = False
        self._stopping = False
        self._failing: set[str] = set()
        self._retry_log = RetryLog(
            _log, "audit_chain.unavailable", "audit entries cannot be chained yet"
        )
        databases.on_use(self.used)
        AUDIT_UNCHAINED.set_function(lambda: sum(o.remaining for o in list(self._logs.values())))
        AUDIT_OLDEST.set_function(self.oldest_seconds)

    def used(self, database: str) -> None:
        """Note that a database was used; the empty name is the management database."""
        log = self._logs.get(database)
        if log is None:
            log = self._logs[database] = self._new_log()
        elif log.used_at is not None and (log.retries is None or log.stuck):
            return
        if log.used_at is None:
            log.used_at = time.monotonic()
        if not log.stuck:
            log.retries = None
        if not log.passing and log.retries is None:
            self._make_due(database, log)

    def oldest_seconds(self) -> float:
        """Return how long ago the first use was that no pass has begun after; 0 without one."""
        used_at = [log.used_at for log in list(self._logs.values()) if log.used_at is not None]
        return time.monotonic() - min(used_at) if used_at else 0.0

    async def stop(self) -> None:
        """Have a last pass of each database that needs one and can be reached, for 5 s at most."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._pass_all()
        except TimeoutError:
            _log.warning(
                "audit entries are left for others to chain", extra={"event": "audit_chain.left"}
            )
        for running in self._passes:
            running.cancel()
        await asyncio.gather(*self._passes, return_exceptions=True)

    async def _pass_all(self) -> None:
        while True:
            waiting = [
                (database, log)
                for database, log in self._logs.items()
                if log.used_at is not None and log.retries is None and not log.passing
            ]
            for database, log in waiting[: _AT_ONCE - len(self._passes)]:
                self._begin(database, log)
            if not self._passes:
                return
            await asyncio.wait(self._passes, return_when=asyncio.FIRST_COMPLETED)

    def _new_log(self) -> _Log:
        if len(self._logs) >= _KNOWN_DATABASES:
            self._logs = {n: log for n, log in self._logs.items() if log.used_at or log.passing}
        return _Log()

    def _make_due(self, database: str, log: _Log) -> None:
        soon = time.monotonic() + (0.0 if log.remaining else _FIRST_SECONDS)
        self._set_due(database, log, max(soon, log.passed_at + log.pause))

    def _set_due(self, database: str, log: _Log, at: float) -> None:
        log.due_at = at
        heapq.heappush(self._due, (at, database))
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake up when the first pass is due; while four are running, when one has ended."""
        if self._stopping or not self._due or len(self._passes) >= _AT_ONCE:
            return
        at = self._due[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        delay = max(0.0, at - time.monotonic())
        loop, self._timer_at = asyncio.get_running_loop(), at
        self._timer = loop.call_later(delay, self._begin_due, context=Context())

    def _begin_due(self) -> None:
        self._timer = None
        while self._due and self._due[0][0] <= time.monotonic() and len(self._passes) < _AT_ONCE:
            at, database = heapq.heappop(self._due)
            log = self._logs.get(database)
            if log is None or log.passing or log.due_at != at:
                continue  # it has been made due at another time since
            if log.retries is not None and self._retrying:
                self._set_due(database, log, time.monotonic() + _BACKOFF.first)
            else:
                self._begin(database, log)
        self._set_timer()

    def _begin(self, database: str, log: _Log) -> None:
        retry = log.retries is not None
        log.passing, log.due_at, self._retrying = True, None, self._retrying or retry
        # In a context of its own: it belongs to no call.
        task = asyncio.create_task(self._pass(database, log), context=Context())
        self._passes.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._passes.discard(task)
            self._retrying = self._retrying and not retry
            self._set_timer()

        task.add_done_callback(ended)

    async def _pass(self, database: str, log: _Log) -> None:
        begun, used_at = time.monotonic(), log.used_at
        log.used_at = None
        try:
            pause = await self._chain(database, log)
        except Exception as error:
            pause = self._failed(database, log, error)
            log.used_at = used_at if log.retries is not None else log.used_at
        else:
            log.used_at = used_at if log.remaining else log.used_at
        finally:
            log.passing, log.passed_at = False, time.monotonic()
        # Where a pass takes long, as behind a snapshot that keeps vacuum away, most time is rest.
        log.pause = max(pause, _REST * (log.passed_at - begun))
        if log.retries is not None:
            self._set_due(database, log, log.passed_at + pause)
            return
        self._failing.discard(database)
        if not self._failing:
            self._retry_log.succeeded()
        if log.used_at is not None:
            self._make_due(database, log)

    async def _chain(self, database: str, log: _Log) -> float:
        """Chain a batch; return how long to pause."""
        lease = ConnectionLease(self._databases, database, transactional=False, is_use=False)
        async with asyncio.timeout(_PASS_SECONDS), lease as connection:
            chained = await audit.chain(connection)
        log.retries, log.stuck, log.remaining = None, False, chained.remaining
        if chained.oldest is None:
            return min(2 * log.pause, _LONGEST_SECONDS)
        AUDIT_CHAINED.inc(chained.count)
        AUDIT_LAG.observe(max(0.0, (now() - chained.oldest).total_seconds()))
        return 0.0 if chained.remaining else _FIRST_SECONDS

    def _failed(self, database: str, log: _Log, error: Exception) -> float:
        """Decide whether to try again: then `retries` is set. Return how long to pause."""
        match error:
            case TenantNotActive() | NotFound() | PermissionDenied():
                log.retries = None
                return _LONGEST_SECONDS
            case asyncpg.UndefinedFunctionError():
                log.retries = None
                return _UNMIGRATED_SECONDS
            case DomainError() | TimeoutError():
                self._retry_log.failed(error)
            case _:
                _log.error(
                    "audit entries could not be chained",
                    exc_info=error,
                    extra={"event": "audit_chain.failed", "tenant_id": database},
                )
        log.stuck = not isinstance(error, Unavailable | LimitExceeded)
        log.retries = log.retries or _BACKOFF.delays()
        self._failing.add(database)
        return next(log.retries)
