"""Which databases a process fails to reach, and how many connections it holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from monitoring.metrics import (
    DATABASE_BUDGET,
    DATABASE_CONNECTIONS,
    DATABASE_FAILURES,
    DATABASES_AWAY,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitoring.readings import Readings

_COUNTED_SECONDS = 180.0
"""Longer than the pause between two visits to a tenant whose work waits for its database."""
_KNOWN_DATABASES = 10_000


class ConnectionCounts(Protocol):
    """The connections of a process to one database server."""

    budget: int
    """How many may be open."""

    def counts(self) -> Mapping[str, int]:
        """Return how many are used and idle, and how many tasks wait for one."""
        ...


class DatabaseMetrics:
    """Exports the connections by server, and counts the databases that cannot be reached.

    They are counted, never named: a tenant is no label.
    """

    def __init__(self, servers: Mapping[str, ConnectionCounts]) -> None:
        self._servers = servers
        self._failed: dict[str, tuple[float, str]] = {}
        DATABASE_CONNECTIONS.read_by(self._connections)
        DATABASE_BUDGET.read_by(self._budgets)
        DATABASES_AWAY.read_by(self._away)

    def failed(self, database: str, server_id: str) -> None:
        """Note that no connection to a database could be opened."""
        DATABASE_FAILURES.labels(server_id).inc()
        if len(self._failed) >= _KNOWN_DATABASES:
            self._failed.clear()
        self._failed[database] = time.monotonic(), server_id

    def reached(self, database: str) -> None:
        """Note that work has got a connection to a database."""
        if self._failed:
            self._failed.pop(database, None)

    def _connections(self) -> Readings:
        for server_id, server in list(self._servers.items()):
            for state, count in server.counts().items():
                yield (server_id, state), count

    def _budgets(self) -> Readings:
        return [((server_id,), server.budget) for server_id, server in list(self._servers.items())]

    def _away(self) -> Readings:
        since, failed = time.monotonic() - _COUNTED_SECONDS, list(self._failed.values())
        for server_id in list(self._servers):
            yield (server_id,), sum(at > since and of == server_id for at, of in failed)
