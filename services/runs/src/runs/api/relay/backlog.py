"""What is left to do for the tenants that this process visited last, as metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runs.api.metrics import OUTBOX_AGE, OUTBOX_MESSAGES, RUNS_OPEN, RUNS_STUCK
from runs.store.open_runs import OPEN_STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitoring.readings import Readings
    from runs.store.open_runs import Backlog

_COUNTED_SECONDS = 10.0
"""For how long a count serves, unless messages could not be delivered then."""

_LATE_SECONDS = 10.0
"""How much later than it is due a tenant may be visited, until what was seen of it is forgotten."""


class BacklogMetrics:
    """Sums over the tenants whose next visit is not overdue.

    Any process may make the next visit, and counts the tenant from then on; so each is counted
    about once.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float, Backlog]] = {}
        RUNS_OPEN.read_by(self._runs)
        RUNS_STUCK.read_by(lambda: [((), sum(one.stuck for one in self._valid()))])
        OUTBOX_MESSAGES.read_by(lambda: [((), sum(one.messages for one in self._valid()))])
        OUTBOX_AGE.set_function(self.outbox_age)

    def is_due(self, tenant_id: str) -> bool:
        """Return whether a visit has to count what is left: not at every one, as a long queue is
        visited each second.
        """
        if (seen := self._seen.get(tenant_id)) is None:
            return True
        at, _, backlog = seen
        return backlog.oldest_seconds > 0 or time.monotonic() >= at + _COUNTED_SECONDS

    def counted(self, tenant_id: str, backlog: Backlog) -> None:
        """Note what a visit has counted."""
        now = time.monotonic()
        self._seen[tenant_id] = now, now + _LATE_SECONDS, backlog

    def visited(self, tenant_id: str, due_seconds: float | None) -> None:
        """Note the end of a visit, and when the next one is due; None for tomorrow."""
        now = time.monotonic()
        seen = self._seen.pop(tenant_id, None)
        if seen is not None and due_seconds is not None:
            self._seen[tenant_id] = seen[0], now + due_seconds + _LATE_SECONDS, seen[2]
        for gone in [name for name, (_, until, _) in self._seen.items() if until < now]:
            del self._seen[gone]

    def outbox_age(self) -> float:
        """Return how long the oldest message has been waiting that was to be delivered before."""
        now = time.monotonic()
        ages = (
            backlog.oldest_seconds + now - at
            for at, until, backlog in list(self._seen.values())
            if until >= now and backlog.oldest_seconds
        )
        return max(ages, default=0.0)

    def _valid(self) -> Iterator[Backlog]:
        now = time.monotonic()
        return (backlog for _, until, backlog in list(self._seen.values()) if until >= now)

    def _runs(self) -> Readings:
        yield from (((status,), 0) for status in OPEN_STATUSES)
        for backlog in self._valid():
            yield from (((status,), count) for status, count in backlog.runs.items())
