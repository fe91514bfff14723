"""The move of a tenant to another server as a saga."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tenant.domain.databases import OPERATION, new_tenant_database
from tenant.domain.migrations import MigrationTarget
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.schema import MigrationProgress
from tenant.domain.tenants import TenantState
from tenant.errors import ServerUnavailable, ServerUnsuitable, TenantBusy
from tenant.move import copying, locations
from tenant.move.locations import Location, Move
from tenant.move.reopening import reopen
from tenant.move.stopping import why_stopped
from tenant.operations.saga import Saga, Step
from tenant.provisioning import new_logins
from tenant.store import applied_migrations, tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.move.replica import Replica
    from tenant.operations.operations import Operations
    from tenant.provisioning import Provisioning
    from tenant.rollout.rollout import Rollout
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.database_servers import DatabaseServers

TARGET = "server_id"
"""The operation's argument that names the server to move to."""
FROM = "old_database"
"""The argument that names the database to move from, where another one is not to be moved."""


class TenantMove:
    """Moves a tenant's database to another server.

    Until the switch the old database is the tenant's, afterwards the new one. The switch is one
    transaction in the management database; before it, no role of a service can enter the old
    database any more, and every committed row is in the new one.
    """

    def __init__(
        self,
        management: ManagementPool,
        servers: DatabaseServers,
        provisioning: Provisioning,
        rollout: Rollout,
        replica: Replica,
        operations: Operations,
        anchors: SignedAnchors,
    ) -> None:
        self._management = management
        self._servers = servers
        self._provisioning = provisioning
        self._rollout = rollout
        self._replica = replica
        self._operations = operations
        self._anchors = anchors

    def saga(self) -> Saga:
        """Return the steps; a move can be cancelled, which after the switch changes nothing."""
        steps = (
            Step("plan", self._plan),
            Step("copy", self._copy),
            Step("switch", self._switch),
            Step("end_replication", self._end_replication),
            Step("drop_old", self._drop_old),
        )
        return Saga(OperationKind.MOVE_TENANT, steps, undo=self._undo)

    async def _plan(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Choose a name for the new database, and whether it can follow the old one.

        Raises ServerUnsuitable if another move has brought the tenant there meanwhile, TenantBusy
        if it has got another database than the one that was to be moved.
        """
        tenant = await locations.movable_tenant(connection, operation.tenant_id)
        if operation.arguments.get(FROM, tenant.database.name) != tenant.database.name:
            raise TenantBusy(tenant.tenant_id, operation.operation_id)
        if tenant.server_id == operation.arguments[TARGET]:
            raise ServerUnsuitable(
                tenant.server_id, "tenant", f"{tenant.tenant_id} is there already"
            )
        old = Location(tenant.server_id, tenant.database)
        database = new_tenant_database(self._servers.main.management)
        new = Location(str(operation.arguments[TARGET]), database)
        return {
            "old": old.notes,
            "new": new.notes,
            "server_id": new.server_id,
            "database": new.database.name,
            "why_stopped": await why_stopped(self._servers, tenant, new),
        }

    async def _copy(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object] | None:
        """Make the new database, and let it follow the old one until little is left."""
        move = Move.of(operation)
        if await move.is_done(connection) or not move.replicated:
            return None
        await self._check(connection, move)
        await self._provisioning.admit_provisioner(move.old.server_id, move.old.database)
        if not await self._follows(move):
            await self._end_copy(move)  # of an attempt that broke off
            await self._make(connection, move)
            problem = await self._replica.begin(move, copying.empty)
            if problem:
                return {"why_stopped": problem}

        async def tell(done: int, total: int) -> None:
            await self._operations.progress(operation, done, total, "tables")

        await self._replica.copied(move, tell)
        return None

    async def _switch(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object] | None:
        """Close the old database, bring over what is left, and make the new one the tenant's."""
        move = Move.of(operation)
        if await move.is_done(connection):
            return None
        await self._check(connection, move)
        await self._reopen(move)  # a process may have died in the middle of this
        # Anew, if the copy broke off after the step before.
        stopped = await self._copy(connection, operation) or {}
        move = replace(move, replicated=move.replicated and not stopped)
        try:
            result = await self._place(connection, operation, move)
        except BaseException:
            await asyncio.shield(self._reopen(move))
            raise
        why = str({**operation.notes, **stopped}["why_stopped"])
        way = f"stop and copy: {why}" if why else "logical replication"
        return {RESULT: {**result, "way": way}, **stopped}

    async def _place(
        self, connection: Connection, operation: Operation, move: Move
    ) -> Mapping[str, str]:
        tenant, logins = await locations.movable_tenant(connection, move.tenant_id), new_logins()
        if not move.replicated:
            await self._provisioning.admit_provisioner(move.old.server_id, move.old.database)
            await self._make(connection, move)
        await self._provisioning.set_passwords(move.new.server_id, move.new.database, logins)
        await self._anchors.carry_over(connection, move.tenant_id, *move.database_names)
        began = time.monotonic()
        progress = await self._bring_over(move, tenant)
        placed = await self._provisioning.place(
            connection,
            tenant,
            move.new.server_id,
            move.new.database,
            logins,
            progress,
            "tenant.move",
            {"old_server_id": move.old.server_id, "operation_id": move.operation_id},
        )
        if placed.state is TenantState.ACTIVE:
            await self._protect(move, logins)
        return {
            "server_id": placed.server_id,
            "database": placed.database.name,
            "stopped_ms": str(round((time.monotonic() - began) * 1000)),
        }

    async def _bring_over(self, move: Move, tenant: Tenant) -> MigrationProgress:
        async with (
            locations.owner_session(self._servers, move.old) as (_, old),
            locations.owner_session(self._servers, move.new) as (_, new),
        ):
            if tenant.state is TenantState.ACTIVE:
                await self._provisioning.close(move.old.server_id, move.old.database, wholly=False)
            if move.replicated:
                await self._replica.catch_up(old, new, move)
            else:
                await copying.copy_tables(old, new)
            await copying.copy_sequences(old, new)
            if tenant.state is not TenantState.ACTIVE:
                await self._provisioning.close(move.new.server_id, move.new.database)
            return MigrationProgress(await applied_migrations.last_by_service(new))

    async def _end_replication(self, connection: Connection, operation: Operation) -> None:
        """Take back what the copy needed on both servers.

        While this waited the tenant may have got another database, and this one may be dropped.
        """
        move = Move.of(operation)
        if move.replicated:
            if await self._made(move.new):
                await self._provisioning.admit_provisioner(*move.new.place)
                await self._replica.end(move)
            if await self._made(move.old):
                await self._replica.release(move)
        if not await move.is_done(connection):
            return
        await locations.release(self._servers, move.new)
        await self._provisioning.mark(connection, *move.new.place)
        tenant = await tenants.find(connection, move.tenant_id)
        if tenant is None or tenant.state.closed:  # it may have been suspended since the switch
            await self._provisioning.close(*move.new.place)

    async def _drop_old(self, connection: Connection, operation: Operation) -> None:
        """Drop the old database, and migrate the new one."""
        move = Move.of(operation)
        await self._provisioning.drop(move.old.server_id, move.old.database)
        tenant = await tenants.find(connection, move.tenant_id)
        if tenant is not None and tenant.state is TenantState.ACTIVE:
            # What was published meanwhile; a failure is recorded with the tenant's schema.
            await self._rollout.migrate(
                connection,
                tenant.tenant_id,
                tenant.server_id,
                tenant.database,
                MigrationTarget.TENANT,
            )

    async def _undo(self, connection: Connection, operation: Operation) -> None:
        """Leave the tenant where it is: what was made elsewhere goes."""
        if "new" not in operation.notes:
            return
        move = Move.of(operation)
        if await move.is_done(connection):
            if await self._made(move.old):
                await self._end_replication(connection, operation)
            await self._drop_old(connection, operation)
            return
        await self._reopen(move)
        await self._end_copy(move)
        await self._reopen(move)  # closed again, if it was opened to the provisioner
        await self._provisioning.drop(*move.new.place)
        tenant = await tenants.find(connection, move.tenant_id)
        if tenant is None or tenant.database != move.old.database:
            # It was switched, and then the tenant got a third database.
            await self._provisioning.drop(*move.old.place)

    async def _end_copy(self, move: Move) -> None:
        """Take back what a copy needed that the tenant does not get.

        On the old server that is done even if the new one is away: it would keep its log for it.
        """
        away: ServerUnavailable | None = None
        try:
            if move.replicated and await self._made(move.new):
                await self._provisioning.admit_provisioner(move.new.server_id, move.new.database)
                await self._replica.end(move)
        except ServerUnavailable as error:
            away = error
        if await self._made(move.old):
            await self._provisioning.admit_provisioner(move.old.server_id, move.old.database)
            if move.replicated:
                await self._replica.release(move)
            await locations.release(self._servers, move.old)
        if away is not None:
            raise away

    async def _make(self, connection: Connection, move: Move) -> None:
        """Make the new database with the old one's tables; what an earlier attempt left goes."""
        await self._provisioning.drop(move.new.server_id, move.new.database)
        await self._provisioning.create(
            connection,
            move.new.server_id,
            move.new.database,
            new_logins(),
            f"{OPERATION}{move.operation_id}",
            await copying.migrations_of(connection, self._servers, move.old),
        )

    async def _follows(self, move: Move) -> bool:
        return await self._made(move.new) and await self._replica.follows(move)

    async def _made(self, location: Location) -> bool:
        return await self._provisioning.usable(*location.place)

    async def _protect(self, move: Move, logins: Mapping[str, str]) -> None:
        """Protect the audit log, once nobody brings it over again."""
        async with self._provisioning.session(*move.new.place, logins) as own:
            await self._provisioning.protect(own, *move.new.place)

    async def _reopen(self, move: Move) -> None:
        """Let the services into the old database again, if it is the tenant's still."""
        await reopen(self._management, self._provisioning, move.tenant_id, *move.old.place)

    async def _check(self, connection: Connection, move: Move) -> None:
        """Raise TenantBusy if the tenant got another database while the move waited."""
        tenant = await locations.movable_tenant(connection, move.tenant_id)
        if tenant.database != move.old.database:
            raise TenantBusy(move.tenant_id, move.operation_id)
