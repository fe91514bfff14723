"""What a superuser changes in an audit log is reported, with the first place that was changed.

`NAGAYA_TAMPERINGS=1000` sets how many random changes are made.
"""

from __future__ import annotations

import os
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import asyncpg
import pytest
from tests.integration.tenant.calls import creation, tenants
from tests.integration.tenant.tamperings import TAMPERINGS, Log

from dataplane import audit
from nagaya.tenant.v1 import audit_service_pb2, audit_service_pb2_grpc
from nagaya_client.audit_file import check_audit_log, write_audit_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from interceptor.testing import RunningServer
    from nagaya_client.client import Client
    from nagaya_local.parts.postgres import PostgresServer
    from servicekit.testing import Keys
    from tenant.composition import Composition

COUNT = int(os.environ.get("NAGAYA_TAMPERINGS", "30"))
SIZE = 40
DETAILS = {"text": 'quotes " and \\ and\nlines, 長屋, \x7f', "number": 1.50, "large": 10**30}


@pytest.fixture
async def log(
    server: RunningServer, service: Composition, postgres: PostgresServer
) -> AsyncIterator[Log]:
    """The log of the tenant `acme`, with 40 entries."""
    await tenants(server).CreateTenant(creation("acme"))
    async with service.tenant_pools.transaction("acme") as own:
        name = await own.fetchval("SELECT current_database()")
        for number in range(2, SIZE + 1):
            details = DETAILS if number % 3 else None
            await audit.append(own, "prompt.create", "prompt", str(number), details)
    connection = await asyncpg.connect(postgres.superuser_url(name))
    await connection.execute("SELECT audit_chain(1000)")
    await connection.execute("SET session_replication_role = replica")
    log = Log(connection, SIZE)
    await log.save()
    yield log
    await connection.close()


def calls(server: RunningServer) -> audit_service_pb2_grpc.AuditServiceStub:
    return audit_service_pb2_grpc.AuditServiceStub(server.channel())


async def verified(server: RunningServer) -> audit_service_pb2.VerifyAuditLogResponse:
    return await calls(server).VerifyAuditLog(
        audit_service_pb2.VerifyAuditLogRequest(tenant_id="acme")
    )


async def exported(server: RunningServer, file: Path) -> Path:
    client = cast("Client", SimpleNamespace(audit=calls(server)))
    await write_audit_log(client, "acme", file)
    return file


@pytest.mark.timeout(120 + COUNT)
async def test_every_change_is_reported_with_the_first_place(
    server: RunningServer, log: Log, keys: Keys, tmp_path: Path
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)  # noqa: S311 - repeats a failure
    assert not (await verified(server)).HasField("first_fault")  # and is anchored

    for number in range(COUNT):
        tamper = TAMPERINGS[number % len(TAMPERINGS)]
        expected = await tamper(log, chance)
        case = f"seed {seed}, number {number}: {tamper.__name__}"

        found = await verified(server)
        assert found.HasField("first_fault"), case
        assert found.first_fault.sequence == expected, case
        if number % 5 == 0 and tamper.__name__ != "set_the_head":
            file = await exported(server, tmp_path / "log.jsonl")
            offline = check_audit_log(file, keys.jwks_file)
            assert offline.first_fault.sequence == expected, case
        await log.restore()

    whole = await verified(server)
    assert not whole.HasField("first_fault"), seed
    assert (whole.entry_count, whole.anchored_sequence) == (SIZE, SIZE)


async def test_an_exported_log_is_verified_without_a_server(
    server: RunningServer, log: Log, keys: Keys, tmp_path: Path
) -> None:
    await verified(server)
    file = await exported(server, tmp_path / "log.jsonl")

    found = check_audit_log(file, keys.jwks_file)

    online = await verified(server)
    assert not found.HasField("first_fault")
    assert (found.entry_count, found.anchored_sequence) == (SIZE, SIZE)
    assert (found.head_sequence, found.head_digest) == (online.head_sequence, online.head_digest)
