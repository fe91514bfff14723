"""What services publish reaches every database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import ARTIFACTS, RUNS, migration
from tests.support.audit_log import chain

from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.schema import Publication
from tenant.errors import MigrationChanged, MigrationFailed, MigrationInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition

DRAFTS = migration("runs", 2, "CREATE TABLE drafts (id INT); INSERT INTO drafts VALUES (1)")


async def applied(service: Composition, tenant_id: str) -> set[tuple[str, int]]:
    async with service.tenant_pools.connection(tenant_id) as connection:
        rows = await connection.fetch("SELECT service, number FROM schema_migrations")
    return {tuple(row) for row in rows}


async def audited(management: asyncpg.Connection, service_name: str) -> list[str]:
    await chain(management)
    rows = await management.fetch(
        """
        SELECT details ->> 'migrations' AS migrations FROM audit_logs
         WHERE action = 'schema.publish' AND resource_id = $1 ORDER BY sequence
        """,
        service_name,
    )
    return [row["migrations"] for row in rows]


async def test_a_publication_reaches_the_tenants_there_are(
    service: Composition, management: asyncpg.Connection
) -> None:
    for name in ("acme", "globex"):
        await service.tenants.create(name, name, name)

    done = await service.schema.publish("runs", [RUNS, DRAFTS])

    assert done == Publication(1, 2, ())
    for name in ("acme", "globex"):
        assert ("runs", 2) in await applied(service, name)
    assert await audited(management, "runs") == ['["tenant 1 file_1"]', '["tenant 2 file_2"]']


async def test_publishing_again_changes_nothing(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    assert await service.schema.publish("runs", [RUNS]) == Publication(0, 1, ())
    assert len(await audited(management, "runs")) == 1


async def test_what_requires_something_unpublished_is_applied_when_that_arrives(
    service: Composition,
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    links = migration("artifacts", 2, "SELECT 1", requires=(("runs", 2),))

    waiting = await service.schema.publish("artifacts", [ARTIFACTS, links])
    assert waiting == Publication(1, 0, ("acme",))

    await service.schema.publish("runs", [RUNS, DRAFTS])
    assert ("artifacts", 2) in await applied(service, "acme")


async def test_a_changed_file_is_refused_and_stores_nothing(
    service: Composition, management: asyncpg.Connection
) -> None:
    changed = migration("runs", 1, "CREATE TABLE runs (id INT)")

    with pytest.raises(MigrationChanged) as error:
        await service.schema.publish("runs", [changed, DRAFTS])

    assert error.value.metadata == {"service": "runs", "number": "1"}
    count = "SELECT count(*) FROM published_migrations WHERE service = 'runs'"
    assert await management.fetchval(count) == 1


async def test_a_gap_is_refused_and_stores_nothing(
    service: Composition, management: asyncpg.Connection
) -> None:
    with pytest.raises(MigrationInvalid, match="1 is missing"):
        await service.schema.publish("llm-gateway", [migration("llm-gateway", 2, "SELECT 1")])

    count = "SELECT count(*) FROM published_migrations WHERE service = 'llm-gateway'"
    assert await management.fetchval(count) == 0


async def test_what_fails_in_the_management_database_is_reported_and_can_be_corrected(
    service: Composition, management: asyncpg.Connection
) -> None:
    def catalog(sql: str) -> list[Migration]:
        return [migration("llm-gateway", 1, sql, target=MigrationTarget.MANAGEMENT)]

    with pytest.raises(MigrationFailed) as error:
        await service.schema.publish("llm-gateway", catalog("CREATE TABLE m (id INT); SELECT x"))
    assert error.value.metadata["sqlstate"] == "42703"
    assert await management.fetchval("SELECT to_regclass('m')") is None

    await service.schema.publish("llm-gateway", catalog("CREATE TABLE m (id INT)"))
    assert await management.fetchval("SELECT to_regclass('m')::text") == "m"
    with pytest.raises(MigrationChanged):
        await service.schema.publish("llm-gateway", catalog("CREATE TABLE m (id BIGINT)"))


async def test_a_tenant_that_fails_is_named_and_stops_no_other(
    service: Composition, management: asyncpg.Connection
) -> None:
    for name in ("acme", "globex", "initech"):
        await service.tenants.create(name, name, name)
    login = await service.connections.resolve("runs", "globex")
    poisoned = await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.database,
    )
    await poisoned.execute("INSERT INTO runs (note) VALUES (NULL)")
    await poisoned.close()

    strict = migration("runs", 2, "ALTER TABLE runs ALTER COLUMN note SET NOT NULL")
    done = await service.schema.publish("runs", [RUNS, strict])

    assert done == Publication(1, 2, ("globex",))
    row = await management.fetchrow(
        "SELECT applied_number, failure FROM schema_states"
        " WHERE tenant_id = 'globex' AND service = 'runs'"
    )
    assert row is not None
    assert tuple(row) == (1, "23502 in 2 file_2")
    with pytest.raises(MigrationChanged):  # it stands elsewhere: what is to change goes into file 3
        await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])


async def test_a_table_that_is_in_use_is_waited_for(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    holder = await asyncpg.connect(postgres.superuser_url(tenant.database.name))
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE runs IN ACCESS SHARE MODE")
    release = asyncio.get_running_loop().call_later(
        2.5, lambda: asyncio.ensure_future(transaction.rollback())
    )

    done = await service.schema.publish(
        "runs", [RUNS, migration("runs", 2, "ALTER TABLE runs ADD COLUMN x INT")]
    )

    release.cancel()
    await holder.close()
    assert done == Publication(1, 1, ())


async def test_services_and_replicas_publish_at_the_same_time(
    service: Composition,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
    management: asyncpg.Connection,
) -> None:
    for name in ("acme", "globex"):
        await service.tenants.create(name, name, name)
    links = migration("artifacts", 2, "CREATE TABLE links (id INT)", requires=(("runs", 2),))
    calls = migration("llm-gateway", 1, "CREATE TABLE calls (id INT)", requires=(("runs", 1),))

    async with replica() as other:
        await asyncio.gather(
            *(
                one.schema.publish(name, files)
                for one in (service, other)
                for name, files in (
                    ("runs", [RUNS, DRAFTS]),
                    ("artifacts", [ARTIFACTS, links]),
                    ("llm-gateway", [calls]),
                )
            )
        )

    for name in ("acme", "globex"):
        assert await applied(service, name) == {
            ("tenant", 1),
            ("tenant", 2),
            ("tenant", 3),
            ("tenant", 4),
            ("tenant", 5),
            ("runs", 1),
            ("runs", 2),
            ("artifacts", 1),
            ("artifacts", 2),
            ("llm-gateway", 1),
        }
    assert await audited(management, "llm-gateway") == ['["tenant 1 file_1"]']


async def test_a_tenant_created_during_publications_lacks_nothing(service: Composition) -> None:
    files = [RUNS, *(migration("runs", n, f"CREATE TABLE t{n} (id INT)") for n in range(2, 6))]

    async def publish_all() -> None:
        for number in range(2, 6):
            await service.schema.publish("runs", files[:number])

    await asyncio.gather(
        publish_all(), *(service.tenants.create(f"tenant-{n}", f"r{n}", "X") for n in range(3))
    )

    for number in range(3):
        assert ("runs", 5) in await applied(service, f"tenant-{number}")
