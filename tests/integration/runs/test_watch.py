from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import fewer_run, wait_until

from runs.api.watch import RunWatcher, WatchTimeouts
from runs.domain.events import Heartbeat, RunEvent
from runs.domain.runs import Run, RunStatus
from runs.errors import RunNotFound, SequenceUnknown
from runs.store import run_transitions
from servicekit.errors import DatabaseUnavailable, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.databases import TenantDatabases
    from tests.support.runs_service import RunsService

    from dataplane.tenants import TenantPools

NO_RUN = "00000000-0000-0000-0000-000000000000"
HASTY = WatchTimeouts(heartbeat=0.3, database=1.0)


@pytest.fixture
def watch(tenants: TenantPools) -> RunWatcher:
    return RunWatcher(tenants, HASTY)


@pytest.fixture
async def run(service: RunsService) -> Run:
    await service.pipeline()
    return await service.run(config={"note": "for ada"})


async def append(service: RunsService, run: Run) -> None:
    async with service.tenants.transaction("acme") as connection:
        await service.append_event(connection, run.run_id)


async def finish(service: RunsService, run: Run) -> None:
    async with service.tenants.transaction("acme") as connection:
        await run_transitions.finish(connection, run.run_id, 1, RunStatus.COMPLETED)


async def events_of(watch: RunWatcher, run: Run, after: int = 0) -> AsyncGenerator[RunEvent]:
    async for part in watch.watch("acme", run.run_id, after):
        if isinstance(part, RunEvent):
            yield part


async def sequences(watch: RunWatcher, run: Run, after: int = 0) -> list[int]:
    return [event.sequence async for event in events_of(watch, run, after)]


async def test_a_watch_begins_at_the_beginning_and_ends_after_the_last_event(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    await append(service, run)
    await finish(service, run)

    events = [event async for event in events_of(watch, run)]
    assert [event.sequence for event in events] == [1, 2, 3]
    assert [event.last for event in events] == [False, False, True]


async def test_an_event_of_the_run_tells_it_as_it_was(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    await finish(service, run)

    first, last = [event.subject async for event in events_of(watch, run)]
    assert first == run
    assert isinstance(last, Run)
    assert (last.status, last.settings) == (RunStatus.COMPLETED, {"note": "for ada"})


async def test_a_watch_is_resumed_after_any_event(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    for _ in range(3):
        await append(service, run)
    await finish(service, run)

    found = [await sequences(watch, run, after) for after in (2, 4, 5)]
    assert found == [[3, 4, 5], [5], []]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_run_cannot_be_watched_from_an_event_that_it_does_not_have(
    service: RunsService, watch: RunWatcher, run: Run, *, ended: bool
) -> None:
    if ended:
        await finish(service, run)
    last = (await service.find(run.run_id)).last_sequence

    with pytest.raises(SequenceUnknown) as refusal:
        await anext(watch.watch("acme", run.run_id, last + 1))
    assert refusal.value.metadata["last_sequence"] == str(last)


async def test_a_run_that_does_not_exist_cannot_be_watched(watch: RunWatcher, run: Run) -> None:
    with pytest.raises(RunNotFound):
        await anext(watch.watch("acme", NO_RUN, 0))


async def test_a_watch_says_that_it_is_alive_while_nothing_happens(
    watch: RunWatcher, run: Run
) -> None:
    async with aclosing(watch.watch("acme", run.run_id, 0)) as parts:
        found = [await anext(parts) for _ in range(4)]

    assert isinstance(found[0], RunEvent)
    assert found[1:] == [Heartbeat(1)] * 3


async def test_two_watchers_miss_nothing_of_20_concurrent_writers(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    async def write() -> None:
        for _ in range(10):
            async with service.tenants.transaction("acme") as connection:
                await service.append_event(connection, run.run_id)
                await asyncio.sleep(0)  # so that transactions overlap

    watchers = [asyncio.create_task(sequences(watch, run)) for _ in range(2)]
    await asyncio.gather(*(write() for _ in range(20)))
    late = asyncio.create_task(sequences(watch, run, 150))
    await finish(service, run)

    everything = list(range(1, 203))
    assert await asyncio.gather(*watchers) == [everything, everything]
    assert await late == everything[150:]


async def test_a_thousand_watchers_of_one_run_miss_nothing(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    watchers = [asyncio.create_task(sequences(watch, run)) for _ in range(1_000)]
    for _ in range(20):
        await append(service, run)
    await finish(service, run)

    assert {tuple(seen) for seen in await asyncio.gather(*watchers)} == {tuple(range(1, 23))}
    assert watch._pollers == {}


async def test_a_run_that_moves_all_the_time_does_not_hide_one_that_moves_at_last(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    busy = await service.run()

    async def move() -> None:
        while True:
            await append(service, busy)
            await asyncio.sleep(0.01)  # an event for each poll

    async with aclosing(watch.watch("acme", run.run_id, 0)) as quiet:
        assert await anext(quiet) != Heartbeat(1)
        watching = asyncio.create_task(sequences(watch, busy))
        moving = asyncio.create_task(move())
        assert await anext(quiet) == Heartbeat(1)  # by now it is one of the quiet
        await append(service, run)
        async with asyncio.timeout(20):
            while not isinstance(part := await anext(quiet), RunEvent):
                pass  # it says that it is alive
        moving.cancel()

    assert part.sequence == 2
    await finish(service, busy)
    last = (await service.find(busy.run_id)).last_sequence
    assert await watching == list(range(1, last + 1))


async def test_a_watcher_that_does_not_read_does_not_hold_up_the_other(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    async with aclosing(watch.watch("acme", run.run_id, 0)) as slow:
        read = [await anext(slow)]
        other = asyncio.create_task(sequences(watch, run))
        async with service.tenants.transaction("acme") as connection:
            for _ in range(1_000):
                await service.append_event(connection, run.run_id)
        await finish(service, run)
        everything = list(range(1, 1_003))
        assert await other == everything

        read += [part async for part in slow if isinstance(part, RunEvent)]
        assert [part.sequence for part in read if isinstance(part, RunEvent)] == everything


async def test_all_watchers_of_a_tenant_share_one_poller_and_leave_nothing_behind(
    service: RunsService, watch: RunWatcher, run: Run
) -> None:
    runs = [run, *[await service.run() for _ in range(9)]]
    watchers = [asyncio.create_task(sequences(watch, each)) for each in runs for _ in range(3)]

    async def subscribed() -> list[int]:
        counts = [len(poller._subscriptions) for poller in watch._pollers.values()]
        return counts if sum(counts) == len(watchers) else []

    everybody = fewer_run(tuple(watchers), len(watchers))
    assert await wait_until(subscribed, unless=everybody) == [len(watchers)]

    for each in runs:
        await finish(service, each)
    assert await asyncio.gather(*watchers) == [[1, 2]] * 30
    assert watch._pollers == {}


async def test_a_watch_survives_a_database_that_is_away_for_a_moment(
    service: RunsService, tenants: TenantPools, run: Run, tenant_databases: TenantDatabases
) -> None:
    patient = RunWatcher(tenants, WatchTimeouts(heartbeat=0.3))
    async with aclosing(events_of(patient, run)) as events:
        await anext(events)
        await tenant_databases.refuse_connections("acme")
        await asyncio.sleep(0.5)
        await tenant_databases.allow_connections("acme")
        await finish(service, run)

        assert (await anext(events)).last


async def test_a_watch_gives_up_when_the_database_stays_away(
    watch: RunWatcher, run: Run, tenant_databases: TenantDatabases
) -> None:
    async with aclosing(events_of(watch, run)) as events:
        await anext(events)
        await tenant_databases.refuse_connections("acme")
        try:
            with pytest.raises(DatabaseUnavailable, match="has been away for"):
                await anext(events)
        finally:
            await tenant_databases.allow_connections("acme")


async def test_watches_end_when_the_server_stops(watch: RunWatcher, run: Run) -> None:
    async with aclosing(events_of(watch, run)) as events:
        await anext(events)
        watch.close()
        with pytest.raises(Unavailable, match="watch on from the last event"):
            await anext(events)


async def test_no_watch_begins_when_the_server_stops(watch: RunWatcher, run: Run) -> None:
    """Behind a load balancer without health checks it would come back, and keep the process."""
    watch.close()
    async with aclosing(events_of(watch, run)) as events:
        with pytest.raises(Unavailable, match="watch on from the last event"):
            await anext(events)
