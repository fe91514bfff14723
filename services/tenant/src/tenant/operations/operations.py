"""Beginning operations, and telling how far they are."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from servicekit.call import current_principal
from servicekit.errors import DomainError
from tenant.domain.operations import Operation, OperationState, Progress
from tenant.errors import RequestIdReused
from tenant.store import operation_runs, operations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import OperationKind

_PROGRESS_SECONDS = 0.5


class Operations:
    """Operations as their owners use them; OperationRunner runs them."""

    def __init__(self, management: ManagementPool) -> None:
        self._management = management
        self._reported_at: dict[str, float] = {}
        self.wanted = asyncio.Event()
        """Set when an operation is to be run; the runner of this process clears it."""

    async def begin(
        self,
        connection: Connection,
        kind: OperationKind,
        tenant_id: str,
        request_id: str,
        arguments: Mapping[str, object],
    ) -> Operation:
        """Insert an operation in the caller's transaction; `run` starts it once that is committed.

        The same request returns the same operation, and lets one that has failed run again.
        Raises RequestIdReused where the request id belongs to another request.
        """
        user_id = current_principal().user_id
        begun = await operations.insert(connection, kind, tenant_id, request_id, arguments, user_id)
        if begun is not None:
            return begun
        known = await operations.find_by_request_id(connection, request_id)
        given = json.loads(json.dumps(dict(arguments)))
        if known is None or (known.kind, known.tenant_id, known.arguments) != (
            kind,
            tenant_id,
            given,
        ):
            raise RequestIdReused(request_id)
        if known.state is OperationState.FAILED:
            return await operations.reopen(connection, known.operation_id) or known
        return known

    async def known(
        self,
        connection: Connection,
        kind: OperationKind,
        tenant_id: str,
        request_id: str,
        arguments: Mapping[str, object],
    ) -> Operation | None:
        """Return the operation that this request began, as `begin` does; None if it began none.

        So a repeated request is not refused because the tenant has changed since. Raises
        RequestIdReused.
        """
        if await operations.find_by_request_id(connection, request_id) is None:
            return None
        return await self.begin(connection, kind, tenant_id, request_id, arguments)

    def run(self, operation_id: str) -> None:
        """Have an operation that is committed run in the background, here or in another process."""
        del operation_id  # the runner takes whatever is due
        self.wanted.set()

    async def progress(self, operation: Operation, done: int, total: int, unit: str) -> None:
        """Tell how much of the step under way is done; written twice a second at most.

        While the management database is away nothing is told.
        """
        now, operation_id = time.monotonic(), operation.operation_id
        if done < total and now - self._reported_at.get(operation_id, 0.0) < _PROGRESS_SECONDS:
            return
        self._reported_at[operation_id] = now
        with suppress(DomainError):
            async with self._management.connection() as connection:
                progress = Progress(done, total, unit)
                await operation_runs.set_progress(connection, operation_id, progress)

    def forget(self, operation_id: str) -> None:
        """Note that this process works on an operation no longer."""
        self._reported_at.pop(operation_id, None)
