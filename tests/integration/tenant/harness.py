"""The tenant service in one process, ways to interrupt it, and files that services publish."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from servicekit.identity import Principal
from tenant.app.service import Service
from tenant.domain.migrations import Migration, Target
from tenant.store.databases import DatabaseStore
from tenant.store.sagas import SagaStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from dataplane.pools import Connection
    from tenant.config import Config
    from tenant.domain.databases import Database
    from tenant.saga import Step
    from tenant.store.stores import Stores

ADA = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))


@asynccontextmanager
async def started(config: Config, stores: Stores) -> AsyncGenerator[Service]:
    """Run one replica for the block."""
    service = Service(config, stores)
    try:
        await service.prepare()
        yield service
    finally:
        await service.close()


class Killed(BaseException):
    """What a process does not survive."""


class DyingSagaStore(SagaStore):
    """Dies when a step has been done, before that is recorded."""

    def __init__(self, step: Step) -> None:
        self._step = step

    async def record(self, connection: Connection, tenant_id: str, step: str) -> None:
        if step == self._step:
            raise Killed
        await super().record(connection, tenant_id, step)


class DyingDatabaseStore(DatabaseStore):
    """Dies when the database has been made, before it is marked and opened."""

    async def wall_off(
        self, connection: Connection, database: Database, marker: str, entrants: Collection[str]
    ) -> None:
        if "creating" in marker:
            raise Killed
        await super().wall_off(connection, database, marker, entrants)


def migration(
    service: str,
    number: int,
    sql: str,
    *,
    target: Target = Target.TENANT,
    requires: tuple[tuple[str, int], ...] = (),
) -> Migration:
    return Migration.parse(service, target, number, f"file_{number}", requires, sql)


RUNS = migration(
    "runs",
    1,
    """
    CREATE TABLE runs (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), note TEXT);
    SELECT nagaya_grant('artifacts', 'REFERENCES', 'runs');
    """,
)
ARTIFACTS = migration(
    "artifacts",
    1,
    "CREATE TABLE artifacts (id BIGSERIAL PRIMARY KEY, run_id UUID NOT NULL REFERENCES runs (id));",
    requires=(("runs", 1),),
)


async def publish_both(service: Service) -> None:
    await service.schema.publish("runs", [RUNS])
    await service.schema.publish("artifacts", [ARTIFACTS])
