"""Operations: steps that go on whatever dies, one process at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.sagas import KIND, Steps, begin, ended, find, refuse, running
from tests.support.waiting import wait_until

from tenant.domain.operations import Operation, OperationState
from tenant.errors import RequestIdReused, ServerUnavailable, TenantExists
from tenant.operations.saga import tenant_lock

if TYPE_CHECKING:
    import asyncpg

    from tenant.composition import Composition


async def test_the_steps_run_in_order_as_the_user_who_began_it(service: Composition) -> None:
    steps = Steps()
    async with running(service, steps.saga()):
        done = await ended(service, await begin(service, size=3))

    assert steps.ran == ["one", "two", "three"]
    assert steps.users == {"ada"}
    assert done.state is OperationState.DONE
    assert (done.step, done.notes) == ("three", {"one": 1, "two": 2, "three": 3})
    assert done.arguments == {"size": 3}


async def test_nothing_runs_before_its_transaction_is_committed(service: Composition) -> None:
    steps = Steps()
    async with running(service, steps.saga()):
        async with service.management.transaction() as connection:
            begun = await service.operations.begin(connection, KIND, "acme", "r1", {})
            service.operations.run(begun.operation_id)
            await asyncio.sleep(0.3)  # there is nothing that tells that nothing happens
            assert steps.ran == []
        await ended(service, begun)


async def test_the_same_request_is_the_same_operation_and_other_content_is_refused(
    service: Composition,
) -> None:
    begun = await begin(service, size=3)

    assert (await begin(service, size=3)).operation_id == begun.operation_id
    for tenant_id, size in (("acme", 4), ("globex", 3)):
        with pytest.raises(RequestIdReused):
            await begin(service, tenant_id=tenant_id, size=size)


async def test_ten_begin_one_operation_at_once(service: Composition) -> None:
    begun = await asyncio.gather(*(begin(service) for _ in range(10)))

    assert len({one.operation_id for one in begun}) == 1


async def test_a_refusal_fails_it_and_the_same_request_runs_it_again(service: Composition) -> None:
    steps = Steps()
    steps.on["two"] = refuse
    async with running(service, steps.saga()):
        failed = await ended(service, await begin(service))
        assert failed.state is OperationState.FAILED
        assert failed.reason == "ERROR_REASON_TENANT_EXISTS"
        assert failed.message == f"{TenantExists('acme').message}. {TenantExists.hint}"

        del steps.on["two"]
        again = await begin(service)
        assert again.operation_id == failed.operation_id
        done = await ended(service, again)

    assert done.state is OperationState.DONE
    assert (done.reason, done.message) == ("", "")
    assert steps.ran == ["one", "two", "two", "three"]


async def test_a_server_that_is_away_is_waited_for(service: Composition) -> None:
    steps = Steps()
    async with running(service, steps.saga()):
        away = asyncio.Event()

        def refuse(_: Operation) -> None:
            if not away.is_set():
                raise ServerUnavailable("main")

        steps.on["two"] = refuse
        begun = await begin(service)

        async def stuck() -> bool:
            return bool((await find(service, begun)).stuck_reason)

        await wait_until(stuck)
        found = await find(service, begun)
        assert found.state is OperationState.RUNNING
        assert found.stuck_reason == "the database server main cannot be reached"
        away.set()
        done = await ended(service, begun)

    assert (done.state, done.stuck_reason) == (OperationState.DONE, "")
    assert steps.ran.count("one") == 1


async def test_a_defect_fails_it_without_its_text(service: Composition) -> None:
    steps = Steps()

    def break_down(_: Operation) -> None:
        raise ValueError("a secret")

    steps.on["one"] = break_down
    async with running(service, steps.saga()):
        failed = await ended(service, await begin(service))

    assert failed.reason == "ERROR_REASON_INTERNAL"
    assert "secret" not in failed.message


@pytest.mark.parametrize("step", ["one", "two", "three"])
async def test_what_a_dead_process_left_is_taken_up_by_another(
    service: Composition, step: str
) -> None:
    dying, living = Steps(), Steps()
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    dying.on[step] = lambda _: hang()
    async with running(service, dying.saga()):
        begun = await begin(service)
        await reached.wait()
    async with running(service, living.saga()):
        done = await ended(service, begun)

    assert done.state is OperationState.DONE
    assert living.ran == ["one", "two", "three"][["one", "two", "three"].index(step) :]


async def test_of_two_processes_one_runs_it(service: Composition) -> None:
    first, second = Steps(), Steps()
    async with running(service, first.saga()), running(service, second.saga()):
        begun = [await begin(service, f"r{n}", f"tenant-{n}") for n in range(10)]
        for one in begun:
            await ended(service, one)

    assert len(first.ran) + len(second.ran) == 30


async def test_it_ends_here_once_its_lock_is_lost(
    service: Composition, management: asyncpg.Connection
) -> None:
    steps, reached, waited = Steps(), asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        if reached.is_set():
            return
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            waited.set()

    steps.on["two"] = lambda _: hang()
    async with running(service, steps.saga()):
        begun = await begin(service)
        await reached.wait()
        holder = await management.fetchval(
            """
            SELECT pid FROM pg_locks
             WHERE locktype = 'advisory' AND granted
               AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)
            """,
            tenant_lock("acme"),
        )
        role = await management.fetchval(
            "SELECT usename FROM pg_stat_activity WHERE pid = $1", holder
        )
        await management.execute(f'GRANT "{role}" TO CURRENT_USER WITH INHERIT TRUE')
        await management.execute("SELECT pg_terminate_backend($1)", holder)
        async with asyncio.timeout(50):
            await waited.wait()
        done = await ended(service, begun)

    assert done.state is OperationState.DONE
    assert steps.ran == ["one", "two", "two", "three"]


async def test_what_kills_process_after_process_is_given_up(
    service: Composition, management: asyncpg.Connection
) -> None:
    begun = await begin(service)
    await management.execute("UPDATE operations SET attempts = 20")
    steps = Steps()
    async with running(service, steps.saga()):
        failed = await ended(service, begun)

    assert failed.reason == "ERROR_REASON_OPERATION_ABANDONED"
    assert steps.ran == []


async def test_progress_is_recorded_and_counts_as_a_move(
    service: Composition, management: asyncpg.Connection
) -> None:
    steps, operations = Steps(), service.operations
    reached = asyncio.Event()

    async def count(operation: Operation) -> None:
        for done in range(1000):
            await operations.progress(operation, done, 1000, "rows")
        await operations.progress(operation, 1000, 1000, "rows")
        reached.set()
        await asyncio.Event().wait()

    steps.on["one"] = count
    async with running(service, steps.saga()):
        begun = await begin(service)
        await reached.wait()
        found = await find(service, begun)

    assert found.progress is not None
    assert (found.progress.done, found.progress.total, found.progress.unit) == (1000, 1000, "rows")
    assert await management.fetchval("SELECT attempts FROM operations") == 0


async def test_a_call_that_waits_for_it_gets_the_error_of_its_step(service: Composition) -> None:
    steps = Steps()
    steps.on["two"] = refuse
    async with running(service, steps.saga()) as runner:
        begun = await begin(service)
        with pytest.raises(TenantExists):
            await runner.run_to_end(begun)
        steps.on.clear()
        done = await runner.run_to_end(await begin(service))

    assert done.state is OperationState.DONE
