"""VerifyAuditLog: what it says of whole logs, and of logs that somebody has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.calls import creation, tenants

from dataplane import audit
from interceptor.fair_semaphore import FairSemaphore
from nagaya.tenant.v1 import audit_log_pb2, audit_service_pb2, audit_service_pb2_grpc
from servicekit.errors import Forbidden, InvalidInput
from tenant.app.audit import AuditVerification
from tenant.domain.databases import AuditRoles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition

DIGEST = audit_log_pb2.AUDIT_LOG_FAULT_KIND_DIGEST
SEQUENCE = audit_log_pb2.AUDIT_LOG_FAULT_KIND_SEQUENCE
HEAD = audit_log_pb2.AUDIT_LOG_FAULT_KIND_HEAD
KNOWN_DIGEST = audit_log_pb2.AUDIT_LOG_FAULT_KIND_KNOWN_DIGEST
Verified = audit_service_pb2.VerifyAuditLogResponse
# What somebody does who computes the chain anew.
REWRITE = """
DO $$
DECLARE entry audit_logs; previous TEXT := repeat('0', 64);
BEGIN
    FOR entry IN SELECT * FROM audit_logs ORDER BY sequence LOOP
        UPDATE audit_logs SET digest = audit_digest(previous, entry) WHERE id = entry.id
        RETURNING digest INTO previous;
    END LOOP;
    UPDATE audit_head SET digest = previous;
END $$
"""

# A schema before PostgreSQL's own, for new connections, in which all texts are equal.
EQUAL = """
CREATE SCHEMA nearer;
GRANT USAGE ON SCHEMA nearer TO PUBLIC;
CREATE FUNCTION nearer.equal(TEXT, TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE RETURN true;
CREATE OPERATOR nearer.= (FUNCTION = nearer.equal, LEFTARG = TEXT, RIGHTARG = TEXT);
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = nearer, pg_catalog, public',
                   current_database());
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid();
END $$;
"""


@pytest.fixture
async def database(
    server: RunningServer, service: Composition, postgres: PostgresServer
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Its superuser, without triggers, in a database with ten entries."""
    await tenants(server).CreateTenant(creation("acme"))
    async with service.tenant_pools.transaction("acme") as own:
        name = await own.fetchval("SELECT current_database()")
        for number in range(2, 11):
            await audit.append(own, "prompt.create", "prompt", str(number), {"n": number})
    connection = await asyncpg.connect(postgres.superuser_url(name))
    await connection.execute("SELECT audit_chain(6)")
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


async def verify(
    server: RunningServer, tenant_id: str = "acme", sequence: int = 0, digest: str = ""
) -> Verified:
    stub = audit_service_pb2_grpc.AuditServiceStub(server.channel())
    return await stub.VerifyAuditLog(
        audit_service_pb2.VerifyAuditLogRequest(
            tenant_id=tenant_id, known_sequence=sequence, known_digest=digest
        )
    )


def fault(found: Verified) -> tuple[int, int] | None:
    return (
        (found.first_fault.sequence, found.first_fault.kind)
        if found.HasField("first_fault")
        else None
    )


async def test_a_whole_log_is_verified_to_its_head_with_what_was_not_chained_yet(
    server: RunningServer, database: asyncpg.Connection
) -> None:
    found = await verify(server)

    head = await database.fetchrow("SELECT sequence, digest FROM audit_head")
    assert head is not None
    assert (found.entry_count, found.head_sequence, found.head_digest) == (10, *head)
    assert (found.unchained_count, fault(found)) == (0, None)
    noted = await verify(server, sequence=10, digest=found.head_digest)
    assert fault(noted) is None
    management = await verify(server, "")
    assert management.entry_count == management.head_sequence > 1
    assert fault(management) is None


@pytest.mark.parametrize(
    ("tampering", "expected"),
    [
        ("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 4", (4, DIGEST)),
        ("UPDATE audit_logs SET details = '{\"n\": 5.0}' WHERE sequence = 5", (5, DIGEST)),
        (
            "UPDATE audit_logs SET created_at = now() WHERE sequence = 1",
            (1, DIGEST),
        ),
        ("DELETE FROM audit_logs WHERE sequence = 4", (4, SEQUENCE)),
        ("DELETE FROM audit_logs WHERE sequence = 1", (1, SEQUENCE)),
        ("DELETE FROM audit_logs WHERE sequence > 7", (8, SEQUENCE)),
        ("DELETE FROM audit_logs", (1, SEQUENCE)),
        ("UPDATE audit_logs SET sequence = -sequence WHERE sequence = 10", (-10, SEQUENCE)),
        ("UPDATE audit_head SET sequence = 9", (9, HEAD)),
        ("UPDATE audit_head SET digest = repeat('a', 64)", (10, HEAD)),
        ("DELETE FROM audit_head", (10, HEAD)),
        (
            """
            CREATE OR REPLACE FUNCTION audit_digest(previous TEXT, entry audit_logs) RETURNS TEXT
            LANGUAGE sql STABLE RETURN (entry).digest;
            UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 4
            """,
            (4, DIGEST),
        ),
        (EQUAL + "UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 4", (4, DIGEST)),
        (
            """
            ALTER TABLE audit_logs ALTER digest DROP NOT NULL;
            UPDATE audit_logs SET digest = NULL WHERE sequence = 4
            """,
            (4, DIGEST),
        ),
        (
            """
            ALTER TABLE audit_logs ALTER sequence DROP NOT NULL;
            INSERT INTO audit_logs (user_id, action, resource_type, resource_id, sequence,
                                    database_role, digest)
            VALUES ('eve', 'prompt.create', 'prompt', 'x', NULL, 'eve', repeat('0', 64))
            """,
            (0, SEQUENCE),
        ),
    ],
)
async def test_the_first_place_that_was_changed_is_named(
    server: RunningServer,
    database: asyncpg.Connection,
    tampering: str,
    expected: tuple[int, int],
) -> None:
    assert fault(await verify(server)) is None
    await database.execute(tampering)

    assert fault(await verify(server)) == expected


async def test_a_chain_that_was_made_anew_before_it_was_anchored_is_noticed_by_a_noted_digest(
    server: RunningServer, database: asyncpg.Connection
) -> None:
    await database.execute("SELECT audit_chain(10)")
    noted = await database.fetchval("SELECT digest FROM audit_logs WHERE sequence = 10")
    await database.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 4")
    await database.execute(REWRITE)

    assert fault(await verify(server)) is None
    assert fault(await verify(server, sequence=10, digest=noted)) == (10, KNOWN_DIGEST)
    assert fault(await verify(server, sequence=11, digest=noted)) == (11, KNOWN_DIGEST)
    with pytest.raises(InvalidInput, match="belong together"):
        await verify(server, sequence=10)


async def test_a_log_is_verified_in_parts_while_it_grows(
    service: Composition, database: asyncpg.Connection
) -> None:
    verification = AuditVerification(
        service.management,
        service.tenant_pools,
        service.anchors,
        AuditRoles(service.servers.main.management),
        FairSemaphore(1, 1, 60.0),
        entries_at_once=3,
    )
    growing = True

    async def grow() -> None:
        while growing:
            async with service.tenant_pools.transaction("acme") as connection:
                await audit.append(connection, "prompt.create", "prompt", "more")
            async with service.tenant_pools.connection("acme") as connection:
                await audit.chain(connection)

    grower = asyncio.create_task(grow())
    found = [await verification.verify("acme", None)]
    while len(found) < 5 or found[-1].count == found[0].count:
        found.append(await verification.verify("acme", None))
    growing = False
    await grower

    assert [each.fault for each in found] == [None] * len(found)
    assert all(each.count == each.head.sequence for each in found)
    await database.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 4")
    broken = (await verification.verify("acme", None)).fault
    assert broken is not None
    assert broken.sequence == 4


async def test_other_calls_go_on_while_a_long_log_is_verified(
    server: RunningServer, database: asyncpg.Connection
) -> None:
    await database.execute(
        """
        SELECT count(audit_append('ada', 'call.settle', 'call', n::text, '{"attempt": 1}'))
          FROM generate_series(1, 30000) AS n
        """
    )
    await database.execute("SELECT audit_chain(NULL)")
    stub = audit_service_pb2_grpc.AuditServiceStub(server.channel())
    request = audit_service_pb2.ListAuditLogsRequest(tenant_id="acme", page_size=1)

    verifying = asyncio.gather(*(verify(server) for _ in range(3)))
    listed = 0
    while not verifying.done():
        await stub.ListAuditLogs(request)
        listed += 1
    assert listed >= 3
    assert [found.entry_count for found in await verifying] == [30_010] * 3


async def test_a_tenants_log_needs_its_token(
    server: RunningServer, database: asyncpg.Connection
) -> None:
    stub = audit_service_pb2_grpc.AuditServiceStub(server.channel(tenants=["globex"]))
    for tenant_id in ("acme", ""):
        with pytest.raises(Forbidden):
            await stub.VerifyAuditLog(audit_service_pb2.VerifyAuditLogRequest(tenant_id=tenant_id))
