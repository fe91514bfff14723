"""What a certificate of deletion says of the audit log, and what a purge waits for before it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from tests.integration.tenant.purges import certificate, ended, purged
from tests.support.waiting import wait_until

from dataplane import audit
from interceptor.testing import serve
from nagaya.tenant.v1.audit_service_pb2_grpc import AuditServiceStub
from nagaya_client.audit_file import check_audit_log, write_audit_log
from tenant.domain.operations import OperationState
from tenant.store import deletion_certificates, operations

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_client.client import Client
    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config

# An operation of another tenant that is made of a backup of acme, and does not get on.
RESTORED_ELSEWHERE = """
WITH backup AS (
    INSERT INTO backups (id, tenant_id, folder, state, kind, snapshot_at)
    VALUES (gen_random_uuid(), 'acme', 'acme-20261130', 'complete', 'manual', now())
    RETURNING id
)
INSERT INTO operations (kind, tenant_id, request_id, arguments, user_id, due_at)
SELECT 'restore_backup', 'globex', 'r9', jsonb_build_object('backup_id', id), 'ada',
       now() + interval '1 hour'
  FROM backup
"""


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


@pytest.fixture
async def service(service: Composition) -> Composition:
    service.runner.start()
    return service


async def test_the_certificate_names_the_end_of_the_log_and_an_exported_log_agrees_with_it(
    service: Composition, keys: Keys, tmp_path: Path
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    async with service.tenant_pools.transaction("acme") as own:
        await audit.append(own, "prompt.create", "prompt", "draft", {"n": 1})
    async with serve(keys, *service.bindings) as server:
        client = SimpleNamespace(audit=AuditServiceStub(server.channel()))
        file = tmp_path / "log.jsonl"
        count = await write_audit_log(cast("Client", client), "acme", file)
    await service.deletion.deletion.delete("acme")
    await purged(service)

    document = await certificate(service, keys)
    assert document["audit_log"]["sequence"] == count == 2
    async with service.management.connection() as connection:
        signed = await deletion_certificates.newest(connection, "acme")
    assert signed is not None
    (saved := tmp_path / "certificate.json").write_bytes(signed)
    assert not check_audit_log(file, keys.jwks_file, [saved]).HasField("first_fault")
    file.write_text(file.read_text().replace("draft", "other"))
    assert check_audit_log(file, keys.jwks_file, [saved]).first_fault.sequence == 2


async def test_a_purge_waits_for_what_uses_a_backup(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    async with service.management.connection() as connection:
        await connection.execute(RESTORED_ELSEWHERE)

    operation = await service.deletion.deletion.purge("acme", "p1")

    async def waits() -> bool:
        async with service.management.connection() as connection:
            found = await operations.find(connection, operation.operation_id)
        return found is not None and "something to wait for" in found.stuck_reason

    await wait_until(waits)
    async with service.management.connection() as connection:
        await connection.execute("UPDATE operations SET state = 'done' WHERE tenant_id = 'globex'")
    assert (await ended(service, operation)).state is OperationState.DONE
