"""Operations that are cancelled or fail: what they have made is removed, or stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.integration.tenant.sagas import Steps, begin, ended, refuse, running

from tenant.domain.operations import OperationState
from tenant.store import operations as table

if TYPE_CHECKING:
    import asyncpg

    from interceptor.testing import RunningServer
    from tenant.composition import Composition


async def test_a_cancelled_one_is_undone(service: Composition, server: RunningServer) -> None:
    steps, reached = Steps(), asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    steps.on["two"] = lambda _: hang()
    async with running(service, steps.saga()):
        begun = await begin(service)
        await reached.wait()
        async with service.management.transaction() as connection:
            assert await table.request_cancellation(connection, begun.operation_id)
        service.operations.run(begun.operation_id)
        cancelled = await ended(service, begun)

    assert cancelled.state is OperationState.CANCELLED
    assert steps.ran == ["one", "two", "undo"]


async def test_a_failure_is_undone_first_where_that_is_wanted(service: Composition) -> None:
    steps = Steps()
    steps.on["two"] = refuse
    async with running(service, steps.saga(undo_on_failure=True)):
        failed = await ended(service, await begin(service))
        assert (failed.state, failed.step) == (OperationState.FAILED, "")
        steps.on.clear()
        done = await ended(service, await begin(service))

    assert done.state is OperationState.DONE
    assert steps.ran == ["one", "two", "undo", "one", "two", "three"]


async def test_after_its_final_step_a_failure_undoes_nothing_and_it_goes_on_from_there(
    service: Composition,
) -> None:
    steps = Steps()
    steps.on["three"] = refuse
    async with running(service, steps.saga(undo_on_failure=True, final="two")):
        failed = await ended(service, await begin(service))
        assert (failed.state, failed.step) == (OperationState.FAILED, "two")
        steps.on.clear()
        done = await ended(service, await begin(service))

    assert done.state is OperationState.DONE
    assert steps.ran == ["one", "two", "three", "three"]


async def test_what_was_given_up_can_be_cancelled(
    service: Composition, management: asyncpg.Connection
) -> None:
    begun = await begin(service)
    await management.execute("UPDATE operations SET attempts = 20")
    steps = Steps()
    async with running(service, steps.saga()):
        await ended(service, begun)
        async with service.management.transaction() as connection:
            assert await table.request_cancellation(connection, begun.operation_id)
        service.operations.run(begun.operation_id)
        cancelled = await ended(service, begun)

    assert (cancelled.state, cancelled.reason) == (OperationState.CANCELLED, "")
    assert steps.ran == ["undo"]
