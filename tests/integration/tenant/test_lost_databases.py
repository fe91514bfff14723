"""A backup is needed most when the tenant's database is lost: it comes back under its own id."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.backup_stack import INSTALLATION, NOTHING
from tests.support.tenant_rows import content, fill

from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya_local.machine.ports import free_port
from servicekit.errors import InvalidInput
from tenant.config import ProvisionerAddress
from tenant.domain.operations import OperationState
from tenant.domain.tenants import TenantState
from tenant.store import servers

if TYPE_CHECKING:
    from tests.integration.tenant.backup_stack import BackupStack

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.domain.databases import Database


async def _lose(postgres: PostgresServer, database: Database, *, with_roles: bool) -> None:
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
    if with_roles:
        roles = ", ".join(f'"{role}"' for role in database.roles)
        await superuser.execute(f"DROP ROLE {roles}")
    await superuser.close()


async def test_a_tenant_whose_server_is_lost_is_restored_on_another_one(
    stack: BackupStack, second_postgres: PostgresServer, management: asyncpg.Connection
) -> None:
    service, tenant_id = stack.service, f"acme-{uuid.uuid4().hex[:8]}"
    address = ProvisionerAddress.parse(second_postgres.url)
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "second", address)
    await service.template.prepare(await service.servers.of("second"))
    labels = {"server": "second"}
    acme = await service.tenants.create(tenant_id, str(uuid.uuid4()), "Acme", labels)
    own = await asyncpg.connect(second_postgres.superuser_url(acme.database.name))
    for key, body in (await fill(own, tenant_id)).items():
        path = stack.objects / tenant_id / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    await own.execute("SELECT audit_chain(1000)")
    before = await content(own, without=INSTALLATION)
    await own.close()
    backup_id = await stack.back_up(tenant_id)
    nowhere = replace(address, port=free_port())
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "second", nowhere)

    request = pb.RestoreBackupRequest(
        tenant_id=tenant_id,
        backup_id=backup_id,
        request_id=str(uuid.uuid4()),
        server_id="main",
        old_server_lost=True,
    )
    begun = (await stack.backups.RestoreBackup(request)).operation
    await stack.done(begun.operation_id)

    tenant = await stack.tenant(tenant_id)
    assert (tenant.state, tenant.server_id) == (TenantState.ACTIVE, "main")
    assert await stack.content(tenant_id) == before
    superuser = await asyncpg.connect(second_postgres.superuser_url())
    await superuser.execute(f'DROP DATABASE "{acme.database.name}" WITH (FORCE)')
    await superuser.close()


@pytest.mark.parametrize("field", ["server_id", "new_tenant_id"])
async def test_a_lost_server_is_left_for_another_one_only(stack: BackupStack, field: str) -> None:
    request = pb.RestoreBackupRequest(
        tenant_id="acme", backup_id=str(uuid.uuid4()), request_id="r", old_server_lost=True
    )
    if field == "new_tenant_id":
        request.server_id, request.new_tenant_id = "main", "acme-2"

    with pytest.raises(InvalidInput) as refused:
        await stack.backups.RestoreBackup(request)
    assert refused.value.reason == "ERROR_REASON_REQUEST_INVALID"


@pytest.mark.parametrize("with_roles", [False, True])
async def test_a_tenant_whose_database_is_lost_is_restored_in_place(
    stack: BackupStack, *, with_roles: bool
) -> None:
    tenant_id = f"acme-{uuid.uuid4().hex[:8]}"
    await stack.service.tenants.create(tenant_id, str(uuid.uuid4()), "Acme")
    files = await stack.filled(tenant_id)
    before = await stack.content(tenant_id)
    backup_id = await stack.back_up(tenant_id)
    lost = (await stack.tenant(tenant_id)).database
    await _lose(stack.postgres, lost, with_roles=with_roles)

    restored = await stack.restore(tenant_id, backup_id)

    assert restored.state is OperationState.DONE, restored.message
    tenant = await stack.tenant(tenant_id)
    assert tenant.state is TenantState.ACTIVE
    assert tenant.database != lost
    assert await stack.content(tenant_id) == before
    assert files.items() <= stack.stored(tenant_id).items()
    assert await stack.leftovers() == NOTHING
