"""A saga of tests: three steps that note that they ran."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

from servicekit.call import current_principal
from tenant.domain.operations import Operation, OperationKind
from tenant.errors import TenantExists
from tenant.operations.runner import OperationRunner
from tenant.operations.saga import Saga, Step
from tenant.store import operations as table
from tenant.store.locks import AdvisoryLocks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from dataplane.pools import Connection
    from tenant.composition import Composition
    from tenant.operations.saga import StepFunction


KIND = OperationKind.PURGE_TENANT  # which cannot be cancelled; the sagas are the tests' own


def refuse(_: Operation) -> None:
    """Fail a step for good."""
    raise TenantExists("acme")


class Steps:
    """Three steps that note that they ran; `on` says what else a step does."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.users: set[str] = set()
        self.on: dict[str, Callable[[Operation], object]] = {}

    def saga(
        self, *, undo_on_failure: bool = False, undoable: bool = True, final: str = ""
    ) -> Saga:
        steps = [Step(name, self._step(name)) for name in ("one", "two", "three")]
        undo = self._step("undo") if undoable else None
        return Saga(KIND, steps, undo, undo_on_failure, final)

    def _step(self, name: str) -> StepFunction:
        async def run(connection: Connection, operation: Operation) -> Mapping[str, object] | None:
            self.ran.append(name)
            self.users.add(current_principal().user_id)
            done = self.on.get(name, lambda _: None)(operation)
            if asyncio.iscoroutine(done):
                await done
            return {name: len(self.ran)}

        return run


@asynccontextmanager
async def running(service: Composition, saga: Saga) -> AsyncGenerator[OperationRunner]:
    """Run operations of a saga, as one process does."""
    locks = AdvisoryLocks(service.management, 6)
    runner = OperationRunner(
        service.management, locks, service.operations, [saga], interval_seconds=0.05
    )
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


async def begin(
    service: Composition, request_id: str = "r1", tenant_id: str = "acme", **arguments: object
) -> Operation:
    async with service.management.transaction() as connection:
        begun = await service.operations.begin(connection, KIND, tenant_id, request_id, arguments)
    service.operations.run(begun.operation_id)
    return begun


async def find(service: Composition, operation: Operation) -> Operation:
    async with service.management.connection() as connection:
        found = await table.find(connection, operation.operation_id)
    assert found is not None
    return found


async def ended(service: Composition, operation: Operation) -> Operation:
    async def over() -> Operation | None:
        found = await find(service, operation)
        return found if found.ended else None

    return await wait_until(over)
