"""Webhooks tell a receiver each event of a run at least once, in order, signed."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from aiohttp.resolver import ThreadedResolver
from tests.support.webhooks import WHOLE, completed, create, delivery, endpoint

from runs.domain.receivers import AllowedReceivers
from runs.domain.runs import Retry, RunStatus
from runs.domain.webhooks import DeliveryState, EndpointState, WebhookSpec
from runs.errors import RunNotFound
from runs.peers.webhook_receivers import WebhookReceivers

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService
    from tests.support.webhook_receiver import Receiver

    from runs.api.relay.webhooks import WebhookRelay

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"


async def test_each_event_of_a_run_is_sent_in_order_and_signed(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    secret = await create(service, receiver.url)
    run_id = await completed(service)

    assert await webhook_relay.handle("acme") is None

    assert receiver.said == WHOLE
    assert [message.fault(secret) for message in receiver.messages] == [""] * 3
    ids = [message.headers["webhook-id"] for message in receiver.messages]
    assert ids == [f"{run_id}.{number}" for number in (1, 2, 3)]
    content = receiver.messages[-1].content
    assert (content["tenant_id"], content["run_id"]) == ("acme", run_id)
    assert content["data"]["run"]["state"] == "RUN_STATE_COMPLETED"
    assert "cranes" not in str(receiver.messages)
    assert (await delivery(service, run_id)).state is DeliveryState.DELIVERED
    await webhook_relay.handle("acme")
    assert len(receiver.messages) == 3


async def test_a_changed_message_is_not_valid(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    secret = await create(service, receiver.url, "run.completed")
    await completed(service)
    await webhook_relay.handle("acme")

    (message,) = receiver.messages
    assert message.fault("whsec_" + "A" * 44)
    assert not message.fault(secret)
    object.__setattr__(message, "body", message.body + b" ")
    assert message.fault(secret)


async def test_an_event_that_is_not_taken_is_sent_again_before_those_after_it(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    database: asyncpg.Connection,
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service)
    receiver.refusals = [204, 503, 500]

    due = await webhook_relay.handle("acme")
    failing = await delivery(service, run_id)
    await database.execute("UPDATE webhook_deliveries SET due_at = now()")
    later = await webhook_relay.handle("acme")
    await database.execute("UPDATE webhook_deliveries SET due_at = now()")
    await webhook_relay.handle("acme")

    assert receiver.said == [WHOLE[0], WHOLE[1], WHOLE[1], WHOLE[1], WHOLE[2]]
    assert (failing.next_sequence, failing.attempts, failing.failure) == (2, 1, "503")
    assert failing.failing_since is not None
    assert due is not None
    assert later is not None
    assert 3 < due < 5.1 < later < 10.1
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 3


async def test_what_nobody_takes_for_days_is_dead_until_it_is_replayed(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    database: asyncpg.Connection,
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service)
    receiver.refusals = [503, 503]
    await webhook_relay.handle("acme")
    await database.execute(
        "UPDATE webhook_deliveries SET due_at = now(), failing_since = now() - interval '73 hours'"
    )

    assert await webhook_relay.handle("acme") is None

    assert (await delivery(service, run_id)).state is DeliveryState.DEAD
    assert (await endpoint(service)).dead_runs == 1
    await webhook_relay.handle("acme")
    assert len(receiver.messages) == 2
    assert await service.webhooks.replay("acme", "ours", "", 0) == 1
    await webhook_relay.handle("acme")
    assert receiver.said[2:] == WHOLE
    assert (await endpoint(service)).dead_runs == 0


async def test_a_run_is_replayed_from_any_number_on(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    before = await completed(service)
    await create(service, receiver.url)
    await webhook_relay.handle("acme")
    assert receiver.messages == []

    assert await service.webhooks.replay("acme", "ours", before, 2) == 1
    await webhook_relay.handle("acme")

    assert receiver.said == WHOLE[1:]
    with pytest.raises(RunNotFound):
        await service.webhooks.replay("acme", "ours", RUN_ID, 0)


async def test_only_what_was_asked_for_is_sent(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url, "run.completed", "step.failed")
    await service.webhooks.create(
        "acme", "others", "others", WebhookSpec(receiver.url, (), ("other",))
    )
    run_id = await completed(service)

    await webhook_relay.handle("acme")

    assert receiver.said == [WHOLE[2]]
    assert (await delivery(service, run_id)).next_sequence == 4


async def test_a_receiver_that_is_gone_is_sent_nothing_more(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await completed(service)
    receiver.refusals = [410]

    await webhook_relay.handle("acme")
    await completed(service)
    await webhook_relay.handle("acme")

    assert len(receiver.messages) == 1
    found = await endpoint(service)
    assert (found.state, found.disabled_reason) == (EndpointState.DISABLED, "its receiver: 410")


async def test_a_redirect_is_not_followed(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service)
    receiver.refusals, receiver.location = [307], receiver.url

    await webhook_relay.handle("acme")

    assert len(receiver.messages) == 1
    assert (await delivery(service, run_id)).failure == "307"


async def test_a_name_that_stands_for_a_private_address_is_never_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(
        self: ThreadedResolver, host: str, port: int, family: socket.AddressFamily
    ) -> list[dict[str, object]]:
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET}
        return [{**found, "proto": 0, "flags": socket.AI_NUMERICHOST}]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    port = receiver.url.split(":")[2].split("/")[0]
    public = WebhookReceivers(AllowedReceivers())
    networks = WebhookReceivers(AllowedReceivers((ip_network("10.0.0.0/8"),)))
    try:
        refused = await public.send(f"https://example.com:{port}/hook", {}, b"")
        assert refused == "its name stands for no public address"
        refused = await networks.send(f"http://example.com:{port}/hook", {}, b"")
        assert refused == "its name stands for no public address"
        assert await public.send(receiver.url, {}, b"") != ""
        for host in (
            "127\u30020\u30020\u30021",
            "\uff11\uff12\uff17.0.0.1",
            "%31%32%37.0.0.1",
            "127%E3%80%820.0.1",
        ):
            assert await networks.send(f"http://{host}:{port}/hook", {}, b"") != ""
    finally:
        await public.close()
        await networks.close()
    assert receiver.messages == []


async def test_the_events_of_a_retry_are_sent_too(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    run_id = await completed(service, RunStatus.FAILED)
    await webhook_relay.handle("acme")
    assert (await delivery(service, run_id)).state is DeliveryState.DELIVERED

    await service.steering.retry("acme", run_id, Retry("mine"))
    await webhook_relay.handle("acme")

    assert receiver.said[:3] == [*WHOLE[:2], (3, "run.failed")]
    assert receiver.said[3][0] == 4
    assert (await delivery(service, run_id)).state is DeliveryState.PENDING
