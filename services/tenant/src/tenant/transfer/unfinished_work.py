"""What is in progress in a tenant's database, and could not go on in another installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class UnfinishedWork:
    """How much there is."""

    runs: int
    """With a workflow, or with a message for Temporal. Runs that are held have none."""
    calls: int
    """Of models, held by a process of llm-gateway."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.calls)


async def find(sessions: Mapping[str, Connection]) -> UnfinishedWork:
    """Return what is in progress, as the services' migration roles see it.

    It is the one question that is asked of other services' tables: it must be answered at the
    snapshot that the tables are read at, and a call of the service has another one.
    """
    runs = await sessions["runs"].fetchval(
        """
        SELECT (SELECT count(*) FROM runs
                 WHERE status IN ('pending', 'running', 'paused') AND NOT held)
             + (SELECT count(*) FROM outbox)
        """
    )
    calls = await sessions["llm-gateway"].fetchval(
        "SELECT count(*) FROM llm_calls WHERE lease_owner IS NOT NULL"
    )
    return UnfinishedWork(runs, calls)
