"""Moving all tenants away from a database server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenant.domain.operations import RESULT, OperationKind, OperationState
from tenant.domain.servers import SERVER_LABEL
from tenant.domain.tenants import TenantState
from tenant.errors.moves import ServerNotDrained
from tenant.move.saga import FROM, TARGET
from tenant.operations.saga import Saga, Step
from tenant.store import open_operations, operations, servers, tenants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations

SERVER = "server_id"
"""The operation's argument that names the server."""

_MOVABLE = (TenantState.ACTIVE, TenantState.SUSPENDED)
_AT_ONCE = 2
_POLL_SECONDS = 0.5


class ServerDrain:
    """Begins a move of each tenant of a server, two at once, and waits until they have ended.

    Each goes where a creation with its labels would. Those that are being created or are deleted
    stay: the first are moved by the next drain, the others purged.
    """

    def __init__(self, management: ManagementPool, begun: Operations) -> None:
        self._management = management
        self._operations = begun

    def saga(self) -> Saga:
        """Return the saga; one drain runs at a time. A cancelled one cancels its moves."""
        steps = (Step("moves", self._move_all),)
        return Saga(
            OperationKind.DRAIN_SERVER, steps, undo=self._stop, lock=lambda _: "drain_server"
        )

    async def _move_all(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Move tenants until none is left that can be moved. Raises ServerNotDrained."""
        cancelled: list[str] = []  # before: what is cancelled from now on does not begin again
        for move in await _moves(connection, operation):
            if move.state is OperationState.FAILED:  # the drain runs again, so it does too
                await _go_on(connection, move)
            elif move.state is OperationState.CANCELLED:
                cancelled.append(move.request_id)
        while True:
            async with self._management.transaction() as round_:
                # In this order: a tenant whose move is done is not found there any more.
                moves = await _moves(round_, operation)
                moving = await open_operations.running_tenant_ids(round_, OperationKind.MOVE_TENANT)
                there = await _there(round_, str(operation.arguments[SERVER]))
                idle = [tenant for tenant in there if tenant.tenant_id not in moving]
                begun, unplaced = await self._begin(round_, operation, idle, moves, cancelled)
            self._operations.run(operation.operation_id)
            done = sum(move.state is OperationState.DONE for move in moves)
            await self._operations.progress(operation, done, done + len(there), "tenants")
            # A move that somebody else began is awaited too.
            running = any(move.state is OperationState.RUNNING for move in moves)
            if not begun and not running and len(idle) == len(there):
                break
            await asyncio.sleep(_POLL_SECONDS)
        for move in moves:
            if move.state is OperationState.FAILED and not await _is_wanted(connection, move):
                await operations.request_cancellation(connection, move.operation_id)
        if there:
            left = [tenant.tenant_id for tenant in there]
            raise ServerNotDrained(str(operation.arguments[SERVER]), left, unplaced)
        return {RESULT: {"moved_tenants": str(done)}}

    async def _begin(
        self,
        connection: Connection,
        operation: Operation,
        idle: Sequence[Tenant],
        moves: Sequence[Operation],
        cancelled: Sequence[str],
    ) -> tuple[int, list[str]]:
        """Begin moves of tenants without one; return how many, and who finds no server with room.

        `cancelled` are the request ids of moves that begin again, under the next number.
        """
        known = {move.request_id for move in moves}
        free = _AT_ONCE - sum(move.state is OperationState.RUNNING for move in moves)
        begun, unplaced = 0, list[str]()
        for tenant in idle:
            first = f"{_prefix(operation)}{tenant.database.name}"
            number = sum(known_id.split("#")[0] == first for known_id in cancelled)
            request_id = f"{first}#{number}" if number else first
            if begun >= free or request_id in known:
                continue
            labels = {n: v for n, v in tenant.server_labels.items() if n != SERVER_LABEL}
            target = await servers.choose(connection, labels)
            if target is None:
                unplaced.append(tenant.tenant_id)
                continue
            await self._operations.begin(
                connection,
                OperationKind.MOVE_TENANT,
                tenant.tenant_id,
                request_id,
                {TARGET: target, FROM: tenant.database.name},
            )
            begun += 1
        return begun, unplaced

    async def _stop(self, connection: Connection, operation: Operation) -> None:
        """Cancel the moves that have not ended; what was switched stays there."""
        for move in await _moves(connection, operation):
            if move.state in (OperationState.RUNNING, OperationState.FAILED):
                await operations.request_cancellation(connection, move.operation_id)
        self._operations.run(operation.operation_id)


async def _there(connection: Connection, server_id: str) -> list[Tenant]:
    """Return the tenants of a server that can be moved, sorted by id."""
    known = await tenants.list_all(connection)
    return [one for one in known if one.server_id == server_id and one.state in _MOVABLE]


async def _moves(connection: Connection, operation: Operation) -> list[Operation]:
    """Return the moves that a drain has begun."""
    return await operations.begun_by(connection, _prefix(operation), operation.create_time)


async def _go_on(connection: Connection, move: Operation) -> None:
    """Let a failed move run again; end it where somebody else has moved the tenant since."""
    if await _is_wanted(connection, move):
        await operations.reopen(connection, move.operation_id)
    else:
        await operations.request_cancellation(connection, move.operation_id)


async def _is_wanted(connection: Connection, move: Operation) -> bool:
    """Return whether a move's tenant has the database still that it moves, or the one it made."""
    tenant = await tenants.find(connection, move.tenant_id)
    moved = move.request_id.rpartition("/")[2].split("#")[0]
    mine = {moved, move.notes.get("database")}
    return tenant is not None and tenant.database.name in mine


def _prefix(operation: Operation) -> str:
    return f"drain/{operation.operation_id}/"
