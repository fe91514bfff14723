"""The table `published_migrations`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tenant.domain.databases import SERVICES
from tenant.domain.migrations import Migration, MigrationTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from dataplane.pools import Connection

_LOCK = "published_migrations"


async def lock_exclusive(connection: Connection) -> None:
    """Block other publications and activations of tenants until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", _LOCK)


async def lock_shared(connection: Connection) -> None:
    """Block publications until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", _LOCK)


async def insert(connection: Connection, migrations: Iterable[Migration]) -> None:
    """Insert migrations; one of the same number is replaced."""
    await connection.executemany(
        """
        INSERT INTO published_migrations (service, target, number, name, requires, sql, digest)
        VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7)
        ON CONFLICT (service, target, number) DO UPDATE
           SET name = excluded.name, requires = excluded.requires, sql = excluded.sql,
               digest = excluded.digest, published_at = now()
        """,
        [
            (m.service, m.target, m.number, m.name, json.dumps(m.requires), m.sql, m.digest)
            for m in migrations
        ],
    )


async def any_of_service(connection: Connection, service: str) -> bool:
    """Tell whether a service has published anything."""
    sql = "SELECT EXISTS (SELECT FROM published_migrations WHERE service = $1)"
    return bool(await connection.fetchval(sql, service))


async def list_for(connection: Connection, target: MigrationTarget) -> list[Migration]:
    """Return the migrations of one target, sorted as `list_all` does."""
    return [m for m in await list_all(connection) if m.target is target]


async def list_all(connection: Connection) -> list[Migration]:
    """Return all migrations by service, in the order of SERVICES, then by target and number."""
    rows = await connection.fetch(
        """
        SELECT service, target, number, name, requires, sql, digest
          FROM published_migrations
         ORDER BY array_position($1::text[], service), target, number
        """,
        list(SERVICES),
    )
    return [_migration(row) for row in rows]


def _migration(row: asyncpg.Record) -> Migration:
    return Migration(
        service=row["service"],
        target=MigrationTarget(row["target"]),
        number=row["number"],
        name=row["name"],
        requires=tuple((service, number) for service, number in json.loads(row["requires"])),
        sql=row["sql"],
        digest=row["digest"],
    )
