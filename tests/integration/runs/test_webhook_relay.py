"""How much is sent at once, and to whom: no receiver delays another, and none delays a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import receiving
from tests.support.webhooks import WHOLE, completed, create, delivery, endpoint

from runs.api.relay import webhooks as relay
from runs.domain.runs import RunStatus
from runs.domain.webhooks import DeliveryState
from runs.errors.webhooks import WebhookEndpointNotFound
from runs.peers import webhook_receivers
from runs.store import run_transitions, webhook_deliveries

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService
    from tests.support.webhook_receiver import Receiver

    from runs.api.relay.webhooks import WebhookRelay

EVENTS = 25


async def run_of_many_events(service: RunsService) -> str:
    """Create a run that tells 25 times that it is running, and completes."""
    run = await service.run()
    await service.begin(run.run_id)
    async with service.tenants.transaction("acme") as connection:
        for _ in range(EVENTS):
            await service.append_event(connection, run.run_id)
        completed = RunStatus.COMPLETED
        assert await run_transitions.finish(connection, run.run_id, 1, completed) is not None
    return run.run_id


async def test_everything_that_is_due_of_a_run_is_sent_in_one_pass(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await run_of_many_events(service)

    assert await webhook_relay.handle("acme") is None

    last = EVENTS + 3
    assert [number for number, _ in receiver.said] == list(range(1, last + 1))
    assert receiver.said[-1] == (last, "run.completed")


async def test_events_that_an_endpoint_does_not_take_do_not_delay_those_that_it_does(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url, "run.completed")
    run_id = await run_of_many_events(service)

    assert await webhook_relay.handle("acme") is None

    assert receiver.said == [(EVENTS + 3, "run.completed")]
    assert (await delivery(service, run_id)).next_sequence == EVENTS + 4


async def test_a_pass_ends_after_its_time_and_the_next_one_goes_on_at_once(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "_PASS_SECONDS", 0.3)
    receiver.seconds = 0.05
    await service.pipeline()
    await create(service, receiver.url)
    await run_of_many_events(service)

    due = [await webhook_relay.handle("acme")]
    while due[-1] is not None:
        due.append(await webhook_relay.handle("acme"))

    assert len(due) >= 3
    assert set(due[:-1]) == {0.0}
    assert [number for number, _ in receiver.said] == list(range(1, EVENTS + 4))


async def test_an_endpoint_that_does_not_answer_delays_no_other(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "_PASS_SECONDS", 60.0)
    monkeypatch.setattr(webhook_receivers, "_TIMEOUT", aiohttp.ClientTimeout(total=60.0))
    await service.pipeline()
    async with receiving() as silent:
        silent.answering.clear()
        await create(service, silent.url, name="silent")
        await create(service, receiver.url)
        for _ in range(12):
            await completed(service)

        sending = asyncio.create_task(webhook_relay.handle("acme"))
        await receiver.wait_for(12 * len(WHOLE))
        await silent.wait_for(4)
        await completed(service)
        await receiver.wait_for(13 * len(WHOLE))

        assert len(silent.messages) == 4
        silent.answering.set()
        assert await sending is None
        assert len(silent.messages) == 13 * len(WHOLE)
    assert len(receiver.messages) == 13 * len(WHOLE)


async def test_a_pass_that_comes_to_its_end_too_late_changes_nothing(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    database: asyncpg.Connection,
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service)
    endpoint_id = (await endpoint(service)).endpoint_id
    async with service.tenants.connection("acme") as connection:
        (late,) = await webhook_deliveries.claim(connection, endpoint_id, 4, timedelta(seconds=60))
        assert await webhook_deliveries.claim(connection, endpoint_id, 4, timedelta(1)) == ()
    await database.execute("UPDATE webhook_deliveries SET due_at = now()")
    await webhook_relay.handle("acme")
    before = await delivery(service, run_id)

    async with service.tenants.connection("acme") as connection:
        assert not await webhook_deliveries.note_sent(connection, late, 2, sent=True, more=False)
        assert not await webhook_deliveries.note_failed(connection, late, "503", 5, 3)

    assert await delivery(service, run_id) == before
    assert (before.state, before.next_sequence) == (DeliveryState.DELIVERED, 4)
    assert receiver.said == WHOLE


async def test_nothing_waits_for_an_endpoint_that_is_disabled(
    service: RunsService, receiver: Receiver, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await completed(service)

    async with service.tenants.connection("acme") as connection:
        assert await webhook_deliveries.any_pending(connection)
        assert await webhook_deliveries.seconds_until_due(connection) == 0
        await database.execute("UPDATE webhook_endpoints SET state = 'disabled'")
        assert not await webhook_deliveries.any_pending(connection)


async def test_what_a_disabled_endpoint_has_left_is_settled_once_it_is_enabled(
    service: RunsService, receiver: Receiver, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service)
    await database.execute("UPDATE webhook_deliveries SET next_seq = 1000")  # all is sent
    states: list[DeliveryState] = []
    for state in ("disabled", "enabled"):
        await database.execute("UPDATE webhook_endpoints SET state = $1", state)
        async with service.tenants.connection("acme") as connection:
            await webhook_deliveries.settle(connection)
        states.append((await delivery(service, run_id)).state)

    assert states == [DeliveryState.PENDING, DeliveryState.DELIVERED]


async def test_a_run_is_created_while_an_endpoint_is_deleted(
    service: RunsService, receiver: Receiver, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await create(service, receiver.url, name="other")
    deletion = database.transaction()
    await deletion.start()
    await database.execute("DELETE FROM webhook_endpoints WHERE name = 'ours'")

    run = await asyncio.wait_for(service.run(), 50)

    await deletion.commit()
    assert (await delivery(service, run.run_id, "other")).state is DeliveryState.PENDING
    assert await database.fetchval("SELECT count(*) FROM webhook_deliveries") == 1


async def test_a_deletion_locks_its_endpoint_only_after_most_deliveries_are_gone(
    service: RunsService, receiver: Receiver, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    held, *_ = [await completed(service) for _ in range(5)]
    use = database.transaction()
    await use.start()
    await database.execute("SELECT FROM webhook_deliveries WHERE run_id = $1 FOR UPDATE", held)

    deletion = asyncio.create_task(service.webhooks.delete("acme", "ours"))
    await wait_until(lambda: _waiting(database))

    assert await database.fetchval("SELECT array_agg(run_id::text) FROM webhook_deliveries") == [
        held
    ]
    await use.rollback()
    await deletion
    assert await database.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    assert await database.fetchval("SELECT count(*) FROM webhook_endpoints") == 0


async def test_a_replay_for_an_endpoint_that_is_being_deleted_finds_none(
    service: RunsService, receiver: Receiver, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run_id = await completed(service)
    await create(service, receiver.url)
    deletion = database.transaction()
    await deletion.start()
    await database.execute("DELETE FROM webhook_endpoints")

    replay = asyncio.create_task(service.webhooks.replay("acme", "ours", run_id, 1))
    await wait_until(lambda: _waiting(database))
    await deletion.commit()

    with pytest.raises(WebhookEndpointNotFound):
        await replay


async def _waiting(database: asyncpg.Connection) -> bool:
    """Return whether a statement in the tenant's database waits for another one's lock."""
    sql = """
        SELECT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock')
    """
    await database.execute("SELECT pg_stat_clear_snapshot()")
    return await database.fetchval(sql)
