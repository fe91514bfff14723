"""The audit log as its database protects it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.waiting import wait_until

from dataplane import audit
from tenant.domain.databases import AuditRoles

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.domain.tenants import Tenant


@pytest.fixture
async def acme(service: Composition) -> Tenant:
    return await service.tenants.create("acme", "r1", "Acme")


def digest_of(previous: str, row: asyncpg.Record) -> str:
    """Compute an entry's digest from its columns, without the database."""
    entry = [
        previous,
        row["sequence"],
        row["user_id"],
        row["action"],
        row["resource_type"],
        row["resource_id"],
        row["details"],
        row["database_role"],
        row["created_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    ]
    return hashlib.sha256(json.dumps(entry, ensure_ascii=False).encode()).hexdigest()


async def test_the_log_is_a_chain_that_anybody_can_compute(
    service: Composition, acme: Tenant
) -> None:
    details = {"text": 'quotes " and \\ and\nlines, 長屋, \x7f', "number": 1.50, "none": None}

    async with service.tenant_pools.transaction("acme") as connection:
        await audit.append(connection, "prompt.create", "prompt", "outline/1", details)
        await audit.append(connection, "prompt.activate", "prompt", "outline/1")

    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT * FROM audit_logs ORDER BY sequence")
        head = await connection.fetchrow("SELECT sequence, digest FROM audit_head")
    assert head is not None
    digest = "0" * 64
    for number, row in enumerate(rows, start=1):
        digest = digest_of(digest, row)
        assert (row["sequence"], row["digest"]) == (number, digest)
    assert tuple(head) == (3, digest)
    assert {row["database_role"] for row in rows} == {acme.database.runtime("tenant")}


async def test_entries_written_at_once_have_no_gap(service: Composition, acme: Tenant) -> None:
    async def write(number: int) -> None:
        async with service.tenant_pools.transaction("acme") as connection:
            await audit.append(connection, "prompt.create", "prompt", str(number))
            if number % 4 == 0:
                raise RuntimeError

    await asyncio.gather(*map(write, range(20)), return_exceptions=True)

    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT sequence FROM audit_logs ORDER BY sequence")
    assert [row["sequence"] for row in rows] == list(range(1, 17))


async def test_the_services_role_can_add_to_the_log_and_nothing_else(
    service: Composition, acme: Tenant
) -> None:
    for sql in (
        "UPDATE audit_logs SET user_id = 'eve'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "INSERT INTO audit_logs (user_id, action, resource_type, resource_id, sequence,"
        " database_role, digest) VALUES ('eve', 'a', 'b', 'c', 9, 'd', repeat('0', 64))",
        "UPDATE audit_unchained SET user_id = 'eve'",
        "DELETE FROM audit_unchained",
        "TRUNCATE audit_unchained",
        "INSERT INTO audit_unchained (user_id, action, resource_type, resource_id, database_role)"
        " VALUES ('eve', 'a', 'b', 'c', 'd')",
        "SELECT nextval('audit_logs_id_seq')",
        "UPDATE audit_head SET sequence = 0",
        "DROP TABLE audit_logs",
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
        "ALTER TABLE audit_unchained DISABLE TRIGGER ALL",
        "INSERT INTO schema_migrations VALUES ('runs', 99, 'x', repeat('0', 64))",
        "SELECT nagaya_note_migration(99, 'x', repeat('0', 64))",
        "UPDATE tenant_identity SET tenant_id = 'globex'",
        "DELETE FROM tenant_identity",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with service.tenant_pools.connection("acme") as connection:
                await connection.execute(sql)


async def test_even_the_owner_and_the_superuser_are_refused(
    service: Composition, postgres: PostgresServer, acme: Tenant
) -> None:
    async with service.tenant_pools.transaction("acme") as own:
        await audit.append(own, "prompt.create", "prompt", "outline/1")
    connection = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    try:
        for role, why in (
            ("postgres", "only be added to"),
            (AuditRoles(service.servers.main.management).owner, "only be added to"),
            (acme.database.migration("tenant"), "permission denied"),
        ):
            await connection.execute(f"SET ROLE {role}")
            for sql in (
                "UPDATE audit_logs SET user_id = 'eve'",
                "DELETE FROM audit_logs",
                "TRUNCATE audit_logs",
                "UPDATE audit_unchained SET user_id = 'eve'",
                "DELETE FROM audit_unchained",
                "TRUNCATE audit_unchained",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match=why):
                    await connection.execute(sql)
        await connection.execute("SELECT audit_chain(10)")
        assert await connection.fetchval("SELECT count(*) FROM audit_logs") == 2
    finally:
        await connection.close()


async def test_a_body_does_not_fit_into_the_details(service: Composition, acme: Tenant) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with service.tenant_pools.transaction("acme") as connection:
            await audit.append(connection, "a", "b", "c", {"body": "x" * 20_000})


async def test_a_writer_waits_for_no_other_writer(service: Composition, acme: Tenant) -> None:
    pools = service.tenant_pools
    async with pools.transaction("acme") as first, asyncio.timeout(50):
        await audit.append(first, "prompt.create", "prompt", "slow")
        async with pools.transaction("acme") as second:
            await audit.append(second, "prompt.create", "prompt", "quick")
        async with pools.connection("acme") as reader:
            await audit.chain_all(reader)

    async with pools.connection("acme") as reader:
        await audit.chain_all(reader)
        rows = await reader.fetch("SELECT id, resource_id FROM audit_logs ORDER BY sequence")
    assert [row["resource_id"] for row in rows] == ["acme", "quick", "slow"]
    assert rows[2]["id"] < rows[1]["id"]  # the chain's order is that of the passes


async def test_passes_at_the_same_time_chain_each_entry_once(
    service: Composition, acme: Tenant
) -> None:
    writing = True

    async def write(writer: int) -> None:
        for number in range(50):
            async with service.tenant_pools.transaction("acme") as connection:
                await audit.append(connection, "prompt.create", "prompt", f"{writer}/{number}")

    async def chain() -> None:
        while writing:
            async with service.tenant_pools.connection("acme") as connection:
                await audit.chain(connection, 7)

    passes = asyncio.gather(chain(), chain())
    await asyncio.gather(*map(write, range(4)))
    writing = False
    await passes

    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT * FROM audit_logs ORDER BY sequence")
        assert not await connection.fetchval("SELECT count(*) FROM audit_unchained")
    digest = "0" * 64
    for number, row in enumerate(rows, start=1):
        digest = digest_of(digest, row)
        assert (row["sequence"], row["digest"]) == (number, digest)
    names = [row["resource_id"] for row in rows[1:]]
    assert sorted(names) == sorted(f"{n // 50}/{n % 50}" for n in range(200))
    for writer in range(4):  # what one has written after the other stands after it
        own = [int(name.partition("/")[2]) for name in names if name.startswith(f"{writer}/")]
        assert own == sorted(own)


async def test_a_pass_that_is_cancelled_changes_nothing(
    service: Composition, acme: Tenant, postgres: PostgresServer
) -> None:
    holder = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    try:
        async with holder.transaction():
            await holder.execute("SELECT audit_chain(1000)")  # of the tenant's creation
            await holder.execute("SELECT * FROM audit_head FOR UPDATE")
            async with service.tenant_pools.transaction("acme") as connection:
                await audit.append(connection, "prompt.create", "prompt", "outline/1")
            with pytest.raises(TimeoutError):
                async with (
                    asyncio.timeout(0.1),
                    service.tenant_pools.connection("acme") as connection,
                ):
                    await audit.chain(connection)
            # Before the head is released: the background pass waits for it, too.
            assert await holder.fetchval("SELECT count(*) FROM audit_unchained") == 1
    finally:
        await holder.close()

    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT resource_id FROM audit_logs ORDER BY sequence")
    assert [row["resource_id"] for row in rows] == ["acme", "outline/1"]


async def test_what_nobody_has_chained_is_found_by_the_sweep(
    service: Composition, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    await service.tenants.create("globex", "r2", "Globex")
    async with service.tenant_pools.transaction("acme") as connection:
        await audit.append(connection, "prompt.create", "prompt", "outline/1")
    await service.tenants.suspend("globex")
    sweep = service.sweep.task
    sweep.start()

    async def is_chained() -> bool:
        async with service.tenant_pools.connection("acme") as connection:
            return not await connection.fetchval("SELECT count(*) FROM audit_unchained")

    await wait_until(is_chained)
    await sweep.stop()
    assert not caplog.records
