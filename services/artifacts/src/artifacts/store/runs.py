"""What the service may know of runs, whose table belongs to the runs service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from dataplane.pools import Connection


class RunStore:
    async def not_held(self, connection: Connection, run_ids: Iterable[UUID]) -> frozenset[UUID]:
        """Return those of some runs that exist and do not wait for their input."""
        rows = await connection.fetch(
            "SELECT id FROM unnest($1::uuid[]) AS run (id) WHERE NOT run_is_held(id)",
            list(run_ids),
        )
        return frozenset(row["id"] for row in rows)
