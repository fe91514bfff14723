"""Sends the events of runs to webhook endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from runs.api.metrics import WEBHOOKS
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
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.events import RunEvent
    from runs.domain.webhooks import ClaimedDelivery, WebhookEndpoint
    from runs.peers.tenant_secrets import TenantSecrets
    from runs.peers.webhook_receivers import WebhookReceivers

_ENDPOINTS = 8
_DELIVERIES = 4  # of an endpoint
_EVENTS = 10
_PASS_SECONDS = 15.0  # then only what is under way comes to its end
_LOOK_SECONDS = 1.0
_LEASE = timedelta(seconds=60)  # longer than a pass and a request
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
        """Send what is due; return in how many seconds to look again, None if nothing waits.

        Ends after 15 seconds, and the time that a request takes. An endpoint has few messages under
        way, and others never wait for them.
        """
        async with self._tenants.connection(tenant_id) as connection:
            await endpoints.disable_copies(connection, tenant_id)
        deadline = time.monotonic() + _PASS_SECONDS
        sending: dict[str, asyncio.Task[None]] = {}
        try:
            await self._send_due(tenant_id, sending, deadline)
            while sending:
                await asyncio.wait(
                    sending.values(), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for endpoint_id in [one for one, task in sending.items() if task.done()]:
                    sending.pop(endpoint_id).result()
                await self._send_due(tenant_id, sending, deadline)
        finally:
            for task in sending.values():
                task.cancel()
            await asyncio.gather(*sending.values(), return_exceptions=True)
        async with self._tenants.connection(tenant_id) as connection:
            await deliveries.settle(connection)
            return await deliveries.seconds_until_due(connection)

    async def _send_due(
        self, tenant_id: str, sending: dict[str, asyncio.Task[None]], deadline: float
    ) -> None:
        """Begin to send to the endpoints that something is due for, without those of `sending`."""
        if time.monotonic() >= deadline or len(sending) >= _ENDPOINTS:
            return
        async with self._tenants.connection(tenant_id) as connection:
            due = await endpoints.find_due(connection, sending.keys(), _ENDPOINTS - len(sending))
        for endpoint in due:
            sending[endpoint.endpoint_id] = asyncio.create_task(
                self._send_some(tenant_id, endpoint, deadline)
            )

    async def _send_some(self, tenant_id: str, endpoint: WebhookEndpoint, deadline: float) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            claimed = await deliveries.claim(connection, endpoint.endpoint_id, _DELIVERIES, _LEASE)
        await asyncio.gather(
            *(self._deliver(tenant_id, endpoint, one, deadline) for one in claimed)
        )

    async def _deliver(
        self,
        tenant_id: str,
        endpoint: WebhookEndpoint,
        claimed: ClaimedDelivery,
        deadline: float,
    ) -> None:
        """Send a run's events until none is left, one is not taken, or the time is over."""
        more = True
        while more:
            async with self._tenants.connection(tenant_id) as connection:
                found, last = await events.of_types(
                    connection,
                    claimed.run_id,
                    claimed.next_sequence - 1,
                    endpoint.spec.taken_types,
                    _EVENTS,
                )
            sent, failure = await self._send_until(tenant_id, endpoint, found, deadline)
            reached = claimed.next_sequence
            if sent == len(found) < _EVENTS:
                reached = last + 1
            elif sent:
                reached = found[sent - 1].sequence + 1
            more = not failure and reached <= last and time.monotonic() < deadline
            async with self._tenants.connection(tenant_id) as connection:
                if reached > claimed.next_sequence:
                    if not await deliveries.note_sent(
                        connection, claimed, reached, sent=sent > 0, more=more
                    ):
                        return
                    attempts = 0 if sent else claimed.attempts
                    claimed = replace(claimed, next_sequence=reached, attempts=attempts)
                if failure:
                    await self._note_failed(connection, tenant_id, endpoint, claimed, failure)

    async def _send_until(
        self,
        tenant_id: str,
        endpoint: WebhookEndpoint,
        found: Sequence[RunEvent],
        deadline: float,
    ) -> tuple[int, str]:
        """Send events in order; return how many were taken, and why the next one was not."""
        for number, event in enumerate(found):
            if number and time.monotonic() >= deadline:
                return number, ""
            failure = await self._send(tenant_id, endpoint, event)
            WEBHOOKS.labels("refused" if failure else "taken").inc()
            if failure:
                return number, failure
        return len(found), ""

    async def _note_failed(
        self,
        connection: Connection,
        tenant_id: str,
        endpoint: WebhookEndpoint,
        claimed: ClaimedDelivery,
        failure: str,
    ) -> None:
        seconds = seconds_until_retry(claimed.attempts + 1)
        dead = await deliveries.note_failed(
            connection, claimed, failure, seconds, self._dead_after_days
        )
        if dead:
            WEBHOOKS.labels("dead").inc()
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
