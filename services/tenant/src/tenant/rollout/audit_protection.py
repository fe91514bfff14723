"""Keeps the audit tables from every login: see `store.audit_owner`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.servers import MAIN
from tenant.store import audit_owner, databases

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.databases import AuditRoles, Database
    from tenant.store.server import ProvisionedServer


class AuditProtection:
    """Makes the owner of the audit tables on a server, and gives it the tables of a database.

    Both are done once, and again after a process that died in between. The management database has
    the function for it, too.
    """

    def __init__(self, roles: AuditRoles) -> None:
        self._roles = roles

    async def prepare(self, server: ProvisionedServer) -> None:
        """Make the roles, and the database of which new ones are copies; under the server's lock.

        Raises ServerUnavailable.
        """
        roles = self._roles
        async with server.provisioner() as provisioner:
            if await audit_owner.is_made(provisioner, roles):
                return
            async with provisioner.transaction():
                await audit_owner.make_roles(provisioner, roles)
                if server.server_id == MAIN:
                    await audit_owner.create_function(provisioner, roles)
            await databases.create_base(provisioner, roles.base)
            async with (
                server.provisioner_of(roles.base) as base,
                base.transaction(),
            ):
                await audit_owner.create_function(base, roles)
            await databases.convert_base(provisioner, roles.base)
            await audit_owner.drop_maker(provisioner, roles)

    async def protect(
        self, connection: Connection, server: ProvisionedServer, database: Database
    ) -> bool:
        """Give the audit tables of a database to their last owner; return whether they are its.

        `connection` is to that database, as any of its roles. False where the function for it is
        missing, as in a database of an earlier release, or while sessions keep the tables locked.
        Raises ServerUnavailable.
        """
        owner = await audit_owner.owner_of_log(connection)
        if owner is None or owner == self._roles.owner:
            return owner is not None
        async with server.provisioner(database.manager) as provisioner:
            await audit_owner.allow_handover(provisioner, database, self._roles)
            try:
                await audit_owner.hand_over(connection)
            except audit_owner.BLOCKED:
                return False
            finally:
                await audit_owner.end_handover(provisioner, database, self._roles)
        return True
