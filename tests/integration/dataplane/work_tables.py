"""Tables of pending work, with and without a column for the kind of work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.integration.dataplane.registry import until_known

from dataplane.pending_work import PendingWorkTable
from dataplane.pending_work_poller import PendingWorkPoller
from dataplane.pending_work_scheduler import PendingWorkScheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.dataplane.registry import Registry

    from dataplane.tenants import DataPlane

KINDS = PendingWorkTable("probe_pending_work", "probe", 5.0, 10.0, 120.0)
PLAIN = PendingWorkTable("plain_pending_work", None, 5.0, 10.0, 120.0)
SQL = """
    CREATE TABLE probe_pending_work (
        tenant_id TEXT NOT NULL,
        kind      TEXT NOT NULL,
        due_at    TIMESTAMPTZ NOT NULL,
        noted_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, kind)
    );
    CREATE TABLE plain_pending_work (
        tenant_id TEXT PRIMARY KEY,
        due_at    TIMESTAMPTZ NOT NULL,
        noted_at  TIMESTAMPTZ NOT NULL DEFAULT now()
    );
    GRANT ALL ON probe_pending_work, plain_pending_work TO PUBLIC;
"""


class Tables:
    """The tables of a test, looked at and changed from outside."""

    def __init__(self, registry: Registry, data: DataPlane, table: PendingWorkTable) -> None:
        self.registry = registry
        self.data = data
        self.table = table
        self._begun = time.monotonic()
        self.scheduler = PendingWorkScheduler(table, data.tenants, data.management)

    def poller(
        self,
        handle: Callable[[str], Awaitable[float | None]],
        *,
        interval_seconds: float = 0.02,
        at_once: int = 8,
        lease_seconds: float = 60.0,
        retry_seconds: float = 60.0,
        poll_all_after_outage: bool = True,
    ) -> PendingWorkPoller:
        """Return a poller that looks 50 times a second, if nothing else is said."""
        return PendingWorkPoller(
            self.table,
            self.data,
            handle,
            interval_seconds=interval_seconds,
            at_once=at_once,
            lease_seconds=lease_seconds,
            retry_seconds=retry_seconds,
            poll_all_after_outage=poll_all_after_outage,
        )

    async def rows(self) -> dict[str, float]:
        """Return in how many seconds each tenant is due."""
        sql = f"SELECT tenant_id, extract(epoch FROM due_at - now())::float FROM {self.table.name}"
        async with self.data.management.connection() as connection:
            return {tenant_id: due for tenant_id, due in await connection.fetch(sql)}

    def was_due_in(self, due: float, seconds: float) -> bool:
        """Return whether a row that this test has had written was due in so many seconds then."""
        return seconds - (time.monotonic() - self._begun) <= due <= seconds

    async def versions(self) -> list[tuple[str, str]]:
        """Return each tenant's row version: another one when it has been written since."""
        sql = f"SELECT tenant_id, xmin::text FROM {self.table.name} ORDER BY tenant_id"
        async with self.data.management.connection() as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    async def make_due(self, *, seconds: float = -1.0, noted_seconds_ago: float = 0.0) -> None:
        """Have every tenant due in `seconds`."""
        sql = (
            f"UPDATE {self.table.name} SET due_at = now() + make_interval(secs => {seconds}),"
            f" noted_at = now() - make_interval(secs => {noted_seconds_ago})"
        )
        async with self.data.management.connection() as connection:
            await connection.execute(sql)


async def add_tenant(tables: Tables, tenant_id: str) -> None:
    await tables.registry.create(tenant_id)
    await until_known(tables.data, tenant_id, generation=1)
