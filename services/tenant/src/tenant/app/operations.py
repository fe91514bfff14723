"""Resuming, cancelling and watching operations."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.errors import OperationNotCancellable, OperationNotFound, OperationNotResumable
from tenant.store import operations

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.operations.runner import OperationRunner

_WATCH_SECONDS = 0.3
_REPEAT_SECONDS = 10.0


class OperationControl:
    """What people do with operations that others have begun."""

    def __init__(
        self, management: ManagementPool, begun: Operations, runner: OperationRunner
    ) -> None:
        self._management = management
        self._begun = begun
        self._runner = runner

    async def resume(self, operation_id: str) -> Operation:
        """Run a failed operation again. Raises OperationNotFound, OperationNotResumable."""
        async with self._management.transaction() as connection:
            resumed = await operations.reopen(connection, operation_id)
            if resumed is None:
                found = await self._find(connection, operation_id)
                raise OperationNotResumable(operation_id, found.state)
            await _audit(connection, "operation.resume", resumed)
        self._begun.run(operation_id)
        return resumed

    async def cancel(self, operation_id: str) -> Operation:
        """Have an operation stopped and undone. Raises OperationNotFound, OperationNotCancellable.

        It is cancelled once all is removed.
        """
        async with self._management.transaction() as connection:
            found = await self._find(connection, operation_id)
            cancelled = None
            if self._runner.cancellable(found.kind):
                cancelled = await operations.request_cancellation(connection, operation_id)
            if cancelled is None:
                raise OperationNotCancellable(operation_id, found.kind, found.state)
            await _audit(connection, "operation.cancel", cancelled)
        self._begun.run(operation_id)
        return cancelled

    async def watch(self, operation_id: str) -> AsyncGenerator[Operation]:
        """Yield an operation, then whenever it changes, and every ten seconds, until it has ended.

        Raises OperationNotFound.
        """
        last: Operation | None = None
        sent_at = 0.0
        while last is None or not last.ended:
            async with self._management.connection() as connection:
                found = await self._find(connection, operation_id)
            if found != last or time.monotonic() - sent_at > _REPEAT_SECONDS:
                last, sent_at = found, time.monotonic()
                yield found
            if not found.ended:
                await asyncio.sleep(_WATCH_SECONDS)

    async def _find(self, connection: Connection, operation_id: str) -> Operation:
        found = await operations.find(connection, operation_id)
        if found is None:
            raise OperationNotFound(operation_id)
        return found


async def _audit(connection: Connection, action: str, operation: Operation) -> None:
    details = {"kind": operation.kind, "tenant_id": operation.tenant_id}
    await audit.append(connection, action, "operation", operation.operation_id, details)
