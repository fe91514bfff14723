"""The end of what has closed a tenant's database for a while, to put another one in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.tenants import TenantState
from tenant.store import tenants

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.domain.databases import Database
    from tenant.provisioning import Provisioning


async def reopen(
    management: ManagementPool,
    provisioning: Provisioning,
    tenant_id: str,
    server_id: str,
    database: Database,
) -> None:
    """Let the services into a database again if it is the tenant's still, and the tenant active.

    That of a tenant that is not active is closed; of one that was dropped nothing is
    done. Raises ServerUnavailable.
    """
    async with management.transaction() as connection:
        # Waits for a switch whose COMMIT is under way: after this none can follow.
        tenant = await tenants.lock(connection, tenant_id)
        if tenant is None or tenant.database != database:
            return
        if not await provisioning.usable(server_id, database):
            return
        if tenant.state is TenantState.ACTIVE:
            await provisioning.open(server_id, database)
        else:
            await provisioning.close(server_id, database)
