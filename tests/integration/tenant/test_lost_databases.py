"""A backup is needed most when the tenant's database is lost: it comes back under its own id."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.backup_stack import NOTHING

from tenant.domain.operations import OperationState
from tenant.domain.tenants import TenantState

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
