"""Sends the events of runs to webhook endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from runs.domain.webhooks import (
    SECRET_PREFIX,
    event_type,
    message_id,
    seconds_until_retry,
    signature,
)
from runs.peers.webhook_receivers import GONE
from runs.store import events
from runs.store import webhook_deliveries as deliveries
from runs.store import webhook_endpoints as endpoints
from runs.wire.runs import run_event
from servicekit.times import now

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.events import RunEvent
    from runs.domain.webhooks import ClaimedDelivery, WebhookEndpoint
    from runs.peers.tenant_secrets import TenantSecrets
    from runs.peers.webhook_receivers import WebhookReceivers

_DELIVERIES = 50
_AT_ONCE = 8
_EVENTS = 10
_LEASE = timedelta(seconds=150)  # longer than ten requests
_log = logging.getLogger(__name__)


class WebhookRelay:
    """Sends what is due of a tenant's events; those of a run one after another."""

    def __init__(
        self,
        tenants: TenantPools,
        secrets: TenantSecrets,
        receivers: WebhookReceivers,
        dead_after_days: float,
    ) -> None:
        self._tenants = tenants
        self._secrets = secrets
        self._receivers = receivers
        self._dead_after_days = dead_after_days

    async def handle(self, tenant_id: str) -> float | None:
        """Send what is due; return in how many seconds to look again, None if nothing waits."""
        async with self._tenants.connection(tenant_id) as connection:
            await endpoints.disable_copies(connection, tenant_id)
            claimed = await deliveries.claim(connection, _DELIVERIES, _LEASE)
            known = await endpoints.find_all(connection, {one.endpoint_id for one in claimed})
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def deliver(one: ClaimedDelivery) -> None:
            async with at_once:
                await self._deliver(tenant_id, known[one.endpoint_id], one)

        await asyncio.gather(*map(deliver, claimed))
        async with self._tenants.connection(tenant_id) as connection:
            await deliveries.settle(connection)
            return await deliveries.seconds_until_due(connection)

    async def _deliver(
        self, tenant_id: str, endpoint: WebhookEndpoint, claimed: ClaimedDelivery
    ) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            after = {claimed.run_id: claimed.next_sequence - 1}
            found = await events.after(connection, after, _EVENTS)
        reached, sent, failure = claimed.next_sequence, False, ""
        for event in found:
            if endpoint.spec.takes(event_type(event)):
                failure = await self._send(tenant_id, endpoint, event)
                if failure:
                    break
                sent = True
            reached = event.sequence + 1
        async with self._tenants.connection(tenant_id) as connection:
            if reached > claimed.next_sequence:
                await deliveries.note_sent(connection, claimed, reached, sent=sent)
            if failure:
                attempts = 1 if sent else claimed.attempts + 1
                dead = await deliveries.note_failed(
                    connection,
                    claimed,
                    failure,
                    seconds_until_retry(attempts),
                    self._dead_after_days,
                )
                if failure == GONE:
                    await endpoints.disable(connection, endpoint.endpoint_id, "its receiver: 410")
                _log_failure(tenant_id, endpoint, claimed, failure, dead=dead)

    async def _send(self, tenant_id: str, endpoint: WebhookEndpoint, event: RunEvent) -> str:
        """Send one event; return why it was not taken, empty if it was."""
        body = _body(tenant_id, event)
        message, timestamp = message_id(event), int(time.time())
        signatures = [
            signature(SECRET_PREFIX + secret, message, timestamp, body)
            for secret in await self._valid_secrets(tenant_id, endpoint)
        ]
        headers = {
            "content-type": "application/json",
            "user-agent": "nagaya-webhooks/1",
            "webhook-id": message,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        return await self._receivers.send(endpoint.spec.url, headers, body)

    async def _valid_secrets(self, tenant_id: str, endpoint: WebhookEndpoint) -> list[str]:
        numbers = [endpoint.secret]
        if endpoint.former_until is not None and endpoint.former_until > now():
            numbers.append(endpoint.secret - 1)
        names = map(endpoint.secret_name, numbers)
        return [await self._secrets.ensure(tenant_id, name) for name in names]


def _body(tenant_id: str, event: RunEvent) -> bytes:
    """Return the message: the event as WatchRun sends it, and what it is about."""
    content = {
        "type": event_type(event),
        "timestamp": event.create_time.isoformat(),
        "tenant_id": tenant_id,
        "run_id": event.run_id,
        "sequence": event.sequence,
        "data": MessageToDict(run_event(event)),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _log_failure(
    tenant_id: str,
    endpoint: WebhookEndpoint,
    claimed: ClaimedDelivery,
    failure: str,
    *,
    dead: bool,
) -> None:
    about = {
        "tenant_id": tenant_id,
        "endpoint": endpoint.name,
        "run_id": claimed.run_id,
        "why": failure,
    }
    if dead:
        _log.error("a run's events are sent no more", extra={"event": "webhook.dead", **about})
    else:
        _log.warning("an event was not delivered", extra={"event": "webhook.failed", **about})
