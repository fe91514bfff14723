"""Operations of one tenant wait for each other, and not those of others for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.integration.tenant.sagas import Steps, begin, ended, running

from tenant.domain.operations import Operation, OperationState
from tenant.store import operation_runs

if TYPE_CHECKING:
    from tenant.composition import Composition


async def test_operations_of_one_tenant_take_turns(service: Composition) -> None:
    steps, at_once = Steps(), set[str]()

    async def alone(operation: Operation) -> None:
        assert not at_once
        at_once.add(operation.operation_id)
        await asyncio.sleep(0.02)
        at_once.clear()

    steps.on = dict.fromkeys(("one", "two", "three"), alone)
    async with running(service, steps.saga()):
        begun = [await begin(service, f"r{n}") for n in range(4)]
        done = [await ended(service, one) for one in begun]

    assert {one.state for one in done} == {OperationState.DONE}


async def test_many_of_one_tenant_leave_room_for_those_of_another(service: Composition) -> None:
    for number in range(12):
        await begin(service, f"r{number}")
    other = await begin(service, "other", "globex")

    async with service.management.connection() as connection:
        found = await operation_runs.due(connection, [other.kind], 10)

    assert [one.tenant_id for one in found] == ["acme", "globex", *["acme"] * 8]
    assert [one.request_id for one in found[2:]] == [f"r{number}" for number in range(1, 9)]
