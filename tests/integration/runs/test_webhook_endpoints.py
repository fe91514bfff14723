"""Endpoints of webhooks: their secrets, copies, deletion, and what must not be sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import ParseDict
from tests.support import schedules
from tests.support.runs_service import RunsService, make_due
from tests.support.webhook_receiver import PlayedSecrets, Receiver
from tests.support.webhooks import completed, create, endpoint

from nagaya.runs.v1 import schedule_pb2
from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.webhooks import WebhookSpec
from runs.errors import RequestIdReused
from runs.errors.webhooks import WebhookEndpointExists, WebhookInvalid
from runs.wire.schedules import schedule_spec
from servicekit.call import acting_as
from servicekit.errors import PermissionDenied
from servicekit.identity import Principal

if TYPE_CHECKING:
    import asyncpg

    from runs.api.launcher import Launcher
    from runs.api.relay.webhooks import WebhookRelay


async def test_both_secrets_are_valid_while_one_takes_the_others_place(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    database: asyncpg.Connection,
) -> None:
    await service.pipeline()
    former = await create(service, receiver.url, "run.completed")
    next_one = await service.webhooks.rotate_secret("acme", "ours", "mine")
    assert await service.webhooks.rotate_secret("acme", "ours", "mine") == next_one != former
    await completed(service)
    await webhook_relay.handle("acme")

    (message,) = receiver.messages
    assert (message.fault(former), message.fault(next_one)) == ("", "")
    await database.execute("UPDATE webhook_endpoints SET former_until = now()")
    await completed(service)
    await webhook_relay.handle("acme")
    assert receiver.messages[1].fault(former)
    assert not receiver.messages[1].fault(next_one)


async def test_a_repeated_creation_returns_the_same_secret(service: RunsService) -> None:
    spec = WebhookSpec("http://127.0.0.1:9/hook", ("run.failed",), ())
    first = await service.webhooks.create("acme", "mine", "ours", spec)

    assert await service.webhooks.create("acme", "mine", "ours", spec) == first
    other = WebhookSpec("http://127.0.0.1:9/other", (), ())
    with pytest.raises(RequestIdReused):
        await service.webhooks.create("acme", "mine", "ours", other)
    with pytest.raises(WebhookEndpointExists):
        await service.webhooks.create("acme", "another", "ours", other)


async def test_events_of_runs_are_sent_only_for_who_may_read_runs(service: RunsService) -> None:
    await create(service, "http://127.0.0.1:9/hook")
    writer = Principal("eve", None, frozenset({"acme"}), frozenset({"webhooks.*", "runs.write"}))
    spec = WebhookSpec("http://127.0.0.1:9/other", (), ())
    with acting_as(writer):
        for call in (
            service.webhooks.create("acme", "mine", "theirs", spec),
            service.webhooks.update("acme", "ours", spec, disabled=False),
            service.webhooks.replay("acme", "ours", "", 0),
        ):
            with pytest.raises(PermissionDenied):
                await call
    assert (await endpoint(service)).spec.url == "http://127.0.0.1:9/hook"
    assert isinstance(service.secrets, PlayedSecrets)
    assert len(service.secrets.kept) == 1


async def test_a_deleted_endpoint_leaves_no_secret(
    service: RunsService, webhook_relay: WebhookRelay, receiver: Receiver
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await completed(service)

    await service.webhooks.delete("acme", "ours")

    assert isinstance(service.secrets, PlayedSecrets)
    assert service.secrets.kept == {}
    assert await webhook_relay.handle("acme") is None
    assert receiver.messages == []


async def test_a_copy_of_another_tenants_endpoint_is_sent_nothing(
    service: RunsService,
    webhook_relay: WebhookRelay,
    receiver: Receiver,
    database: asyncpg.Connection,
) -> None:
    await service.pipeline()
    await create(service, receiver.url)
    await completed(service)
    await database.execute("UPDATE webhook_endpoints SET tenant_id = 'origin'")

    await webhook_relay.handle("acme")

    assert receiver.messages == []
    assert (await endpoint(service)).disabled_reason == "copied from tenant origin"


async def test_the_relay_of_runs_has_a_tenant_visited_that_has_events_to_send(
    service: RunsService,
    launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    sql = "SELECT count(*) FROM runs_pending_work WHERE kind = 'webhooks'"
    await completed(service)
    await make_due(database, registry)
    await service.relay(launcher, STALE_AFTER).poll()
    assert await registry.fetchval(sql) == 0
    await create(service, "http://127.0.0.1:9/hook")
    await completed(service)
    await make_due(database, registry)

    await service.relay(launcher, STALE_AFTER).poll()

    assert await registry.fetchval(sql) == 1


async def test_schedules_that_cannot_be_delivered_hold_up_nothing_else_of_the_relay(
    service: RunsService,
    launcher: Launcher,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    away = service.with_launcher(unreachable_launcher)
    message = ParseDict(schedules.spec(cron="0 3 * * *"), schedule_pb2.ScheduleSpec())
    await away.schedules.create("acme", "mine", "nightly", schedule_spec(message), paused=False)
    await create(service, "http://127.0.0.1:9/hook")
    await completed(service)
    await registry.execute("DELETE FROM runs_pending_work WHERE kind = 'webhooks'")
    await make_due(database, registry)

    await away.relay(launcher, STALE_AFTER).poll()

    sql = "SELECT count(*) FROM runs_pending_work WHERE kind = 'webhooks'"
    assert await registry.fetchval(sql) == 1
    assert await database.fetchval("SELECT applied_generation FROM schedules") == 0


@pytest.mark.parametrize(
    "spec",
    [
        WebhookSpec("https://10.1.2.3/hook", (), ()),
        WebhookSpec("https://169.254.169.254/latest", (), ()),
        WebhookSpec("https://[::1]/hook", (), ()),
        WebhookSpec("https://2130706433/hook", (), ()),
        WebhookSpec("https://example.com/hook", ("run.exploded",), ()),
    ],
    ids=lambda spec: " ".join([spec.url, *spec.event_types]),
)
async def test_what_must_not_be_sent_to_is_refused(service: RunsService, spec: WebhookSpec) -> None:
    with pytest.raises(WebhookInvalid):
        await service.webhooks.create("acme", "mine", "ours", spec)
