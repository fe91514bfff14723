"""What is known of a log when it comes to another database is what it must have there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import asyncpg
import pytest
from tests.integration.tenant.calls import creation, tenants
from tests.integration.tenant.tamperings import RECHAIN

from auditchain.chain import NO_DIGEST
from dataplane import audit
from nagaya.tenant.v1 import audit_log_pb2, audit_service_pb2, audit_service_pb2_grpc
from nagaya_client.audit_file import AuditFileInvalid, check_audit_log, write_audit_log
from signing import DocumentSigner
from tenant.app.moves import Moves
from tenant.domain.audit import ChainLink
from tenant.signed_anchors import SIGNING_KEY, SignedAnchors
from tenant.store import audit_anchors, audit_logs
from tenant.store.anchor_files import AnchorFiles

if TYPE_CHECKING:
    from pathlib import Path

    from auditchain.anchors import Anchor
    from dataplane.pools import Connection
    from interceptor.testing import RunningServer
    from nagaya_client.client import Client
    from nagaya_local.parts.postgres import PostgresServer
    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.domain.audit import VerifiedPart

ENTRIES = 9
ANCHOR = audit_log_pb2.AUDIT_LOG_FAULT_KIND_ANCHOR


async def created(server: RunningServer, service: Composition) -> str:
    """Create a tenant with nine entries, which are anchored; return its database's name."""
    await tenants(server).CreateTenant(creation("acme"))
    async with service.tenant_pools.transaction("acme") as own:
        for number in range(2, ENTRIES + 1):
            await audit.append(own, "prompt.create", "prompt", str(number))
    await service.anchors.anchor("acme")
    return await database_of(service)


async def appended(service: Composition, number: int) -> None:
    async with service.tenant_pools.transaction("acme") as own:
        await audit.append(own, "prompt.create", "prompt", str(number))


async def database_of(service: Composition) -> str:
    async with service.tenant_pools.connection("acme") as own:
        return await own.fetchval("SELECT current_database()")


async def rewrite(postgres: PostgresServer, database: str, place: int = 3) -> None:
    """Change an entry, and compute the whole chain anew, as a superuser can."""
    connection = await asyncpg.connect(postgres.superuser_url(database))
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = $1", place)
    await connection.execute(RECHAIN)
    await connection.close()


async def moved(service: Composition) -> None:
    operation = await Moves(service.management, service.operations).begin("acme", "second", "m1")
    await service.runner.run_to_end(operation)


def calls(server: RunningServer) -> audit_service_pb2_grpc.AuditServiceStub:
    return audit_service_pb2_grpc.AuditServiceStub(server.channel())


async def verified(server: RunningServer) -> audit_service_pb2.VerifyAuditLogResponse:
    request = audit_service_pb2.VerifyAuditLogRequest(tenant_id="acme")
    return await calls(server).VerifyAuditLog(request)


async def anchored(service: Composition) -> list[Anchor]:
    database = await database_of(service)
    async with service.management.connection() as management:
        stored = await audit_anchors.between(management, "acme", database, 0, 1 << 40)
    opened = [service.anchors.signed.open(one, "acme", database) for one in stored]
    return [anchor for anchor in opened if anchor is not None]


async def test_what_was_written_anew_before_a_move_is_still_reported_after_it(
    server: RunningServer,
    service: Composition,
    postgres: PostgresServer,
    second_server: PostgresServer,
) -> None:
    old = await created(server, service)
    await rewrite(postgres, old)

    await moved(service)
    await service.sweep.round()
    found = await verified(server)

    assert (found.first_fault.sequence, found.first_fault.kind) == (ENTRIES, ANCHOR)
    assert await database_of(service) != old
    assert {(one.since, one.sequence) for one in await anchored(service)} == {(8, 9)}


async def test_a_moved_log_that_was_found_changed_is_not_computed_at_each_visit(
    server: RunningServer,
    service: Composition,
    postgres: PostgresServer,
    second_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = await created(server, service)
    superuser = await asyncpg.connect(postgres.superuser_url(old))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 3")
    await superuser.close()
    await moved(service)
    parts: list[ChainLink] = []
    verify_part = audit_logs.verify_part

    async def counted(connection: Connection, start: ChainLink, size: int) -> VerifiedPart:
        parts.append(start)
        return await verify_part(connection, start, size)

    monkeypatch.setattr(audit_logs, "verify_part", counted)
    await service.anchors.anchor("acme")
    assert len(parts) == 1
    await service.anchors.anchor("acme")
    assert len(parts) == 1

    superuser = await asyncpg.connect(second_server.superuser_url(await database_of(service)))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("UPDATE audit_logs SET user_id = 'ada' WHERE sequence = 3")
    await superuser.close()
    assert not (await verified(server)).HasField("first_fault")
    assert {(0, ENTRIES)} < {(one.since, one.sequence) for one in await anchored(service)}


async def test_a_log_that_was_moved_whole_is_anchored_from_its_first_entry_on(
    server: RunningServer, service: Composition, second_server: PostgresServer
) -> None:
    await created(server, service)

    await moved(service)
    await service.sweep.round()
    await service.anchors.anchor("acme")
    found = await verified(server)

    assert not found.HasField("first_fault")
    assert found.anchored_sequence == found.head_sequence == ENTRIES
    assert sorted((one.since, one.sequence) for one in await anchored(service)) == [(0, 9), (8, 9)]
    await rewrite(second_server, await database_of(service))
    assert (await verified(server)).first_fault.sequence == 3


async def test_a_moved_log_that_was_written_to_before_it_is_anchored_is_anchored_once(
    server: RunningServer,
    service: Composition,
    second_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await created(server, service)
    await moved(service)
    await appended(service, 12)

    await service.anchors.anchor("acme")
    first = sorted((one.since, one.sequence) for one in await anchored(service))
    await appended(service, 13)
    await service.anchors.anchor("acme")
    then = sorted((one.since, one.sequence) for one in await anchored(service))

    assert first == [(0, 9), (8, 9), (9, 10)]
    assert then == [*first, (10, 11)]
    await rewrite(second_server, await database_of(service), 10)
    await service.anchors.anchor("acme")
    await appended(service, 14)
    await service.anchors.anchor("acme")
    assert len(await anchored(service)) == len(then)
    assert "audit_log.altered" in [getattr(record, "event", "") for record in caplog.records]


async def test_no_transaction_waits_while_a_moved_log_is_computed(
    server: RunningServer,
    service: Composition,
    second_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await created(server, service)
    await moved(service)
    locks: list[int] = []
    verify_part = audit_logs.verify_part

    async def watched(connection: Connection, start: ChainLink, size: int) -> VerifiedPart:
        async with service.management.connection() as management:
            found = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            locks.append(await management.fetchval(found))
        return await verify_part(connection, start, size)

    monkeypatch.setattr(audit_logs, "verify_part", watched)

    await service.anchors.anchor("acme")

    assert locks[0] < locks[1]  # while it is compared, and while it is anchored


async def test_each_anchor_is_listed_once_although_two_end_at_the_same_entry(
    server: RunningServer, service: Composition, second_server: PostgresServer
) -> None:
    await created(server, service)
    await moved(service)
    await service.anchors.anchor("acme")
    request = audit_service_pb2.ListAuditAnchorsRequest(tenant_id="acme", page_size=1)
    listed: list[bytes] = []

    while not listed or request.page_token:
        page = await calls(server).ListAuditAnchors(request)
        listed += [one.document for one in page.audit_anchors]
        request.page_token = page.next_page_token

    assert len(listed) == len(set(listed)) == 2


async def test_a_log_that_lacks_what_is_known_of_it_is_not_anchored(
    server: RunningServer, service: Composition
) -> None:
    await tenants(server).CreateTenant(creation("acme"))
    database = await database_of(service)
    async with service.management.connection() as management:
        head = ChainLink(7, "ab" * 32)
        await service.anchors.signed.note_head(management, "acme", database, head)
        await service.anchors.signed.note_head(
            management, "acme", database, ChainLink(0, NO_DIGEST)
        )

    await service.anchors.anchor("acme")
    found = await verified(server)

    assert found.first_fault.sequence == found.head_sequence + 1
    assert [one.sequence for one in await anchored(service)] == [7]


async def test_files_of_anchors_that_are_away_do_not_prevent_a_move(
    server: RunningServer, service: Composition, keys: Keys, tmp_path: Path
) -> None:
    (folder := tmp_path / "anchors").touch()  # no folder can be made there
    signer = DocumentSigner.from_file(SIGNING_KEY, keys.key_file("tenant"))
    signed = SignedAnchors(service.management, signer, keys.jwks_file, AnchorFiles(folder))

    async with service.management.connection() as management:
        await signed.note_head(management, "acme", "t_1", ChainLink(7, "ab" * 32))
        noted = await signed.noted_head(management, "acme", "t_1")

    assert noted is not None
    assert noted.sequence == 7


async def test_an_anchor_that_was_changed_is_listed_and_an_exported_log_is_refused_for_it(
    server: RunningServer,
    service: Composition,
    postgres: PostgresServer,
    keys: Keys,
    tmp_path: Path,
) -> None:
    await created(server, service)
    client, file = cast("Client", SimpleNamespace(audit=calls(server))), tmp_path / "log.jsonl"
    await write_audit_log(client, "acme", file)
    assert not check_audit_log(file, keys.jwks_file).HasField("first_fault")
    name = service.servers.main.management.name
    superuser = await asyncpg.connect(postgres.superuser_url(name))
    await superuser.execute("SET session_replication_role = replica")
    changed = "replace(details ->> 'document', 'acme', 'acne')"
    for table in ("audit_logs", "audit_unchained"):
        await superuser.execute(
            f"""
            UPDATE {table} SET details = details || jsonb_build_object('document', {changed})
             WHERE action = 'audit.anchor'
            """
        )
    await superuser.close()

    await write_audit_log(client, "acme", file)

    with pytest.raises(AuditFileInvalid, match="not what was signed"):
        check_audit_log(file, keys.jwks_file)
    assert (await verified(server)).first_fault.kind == ANCHOR
