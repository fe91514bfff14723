"""The audit log as its database protects it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import asyncpg
import pytest

from dataplane import audit

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
        "UPDATE audit_head SET sequence = 0",
        "DROP TABLE audit_logs",
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
        "INSERT INTO schema_migrations VALUES ('runs', 99, 'x', repeat('0', 64))",
        "SELECT nagaya_note_migration(99, 'x', repeat('0', 64))",
        "UPDATE tenant_identity SET tenant_id = 'globex'",
        "DELETE FROM tenant_identity",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with service.tenant_pools.connection("acme") as connection:
                await connection.execute(sql)


async def test_even_the_owner_and_the_superuser_are_refused(
    postgres: PostgresServer, acme: Tenant
) -> None:
    connection = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    try:
        for role in ("postgres", acme.database.migration("tenant")):
            await connection.execute(f"SET ROLE {role}")
            for sql in (
                "UPDATE audit_logs SET user_id = 'eve'",
                "DELETE FROM audit_logs",
                "TRUNCATE audit_logs",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only be added to"):
                    await connection.execute(sql)
    finally:
        await connection.close()


async def test_a_body_does_not_fit_into_the_details(service: Composition, acme: Tenant) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with service.tenant_pools.transaction("acme") as connection:
            await audit.append(connection, "a", "b", "c", {"body": "x" * 20_000})
