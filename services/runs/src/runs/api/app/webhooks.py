"""Webhook endpoints: creating, changing, rotating secrets, replaying and deleting.

A secret is made before its endpoint is recorded, under a name that belongs to the request, and
deleted after it: whatever breaks in between, an endpoint has the secret that its creator was given.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from dataplane import audit
from runs.domain.webhooks import SECRET_PREFIX
from runs.errors import RequestIdReused, RunNotFound
from runs.errors.webhooks import (
    WebhookEndpointExists,
    WebhookEndpointNotFound,
    WebhookInvalid,
)
from runs.store import runs as run_store
from runs.store import webhook_deliveries as deliveries
from runs.store import webhook_endpoints as endpoints
from servicekit.call import current_principal, require_permission
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.receivers import AllowedReceivers
    from runs.domain.webhooks import WebhookEndpoint, WebhookSpec
    from runs.peers.tenant_secrets import TenantSecrets

_FIRST_SECRET = 1
_READS_RUNS = "runs.read"
"""What it needs besides to have events of runs sent somewhere."""

_log = logging.getLogger(__name__)


class Webhooks:
    """Creates, changes and deletes endpoints."""

    def __init__(
        self,
        tenants: TenantPools,
        scheduler: PendingWorkScheduler,
        secrets: TenantSecrets,
        receivers: AllowedReceivers,
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._secrets = secrets
        self._receivers = receivers

    async def create(
        self, tenant_id: str, request_id: str, name: str, spec: WebhookSpec
    ) -> tuple[WebhookEndpoint, str]:
        """Create an endpoint; return it and its secret.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PermissionDenied, WebhookInvalid and WebhookEndpointExists.
        """
        require_permission(_READS_RUNS)
        self._check(spec)
        endpoint_id = str(uuid5(NAMESPACE_URL, f"nagaya:{tenant_id}/webhooks/{request_id}"))
        secret = await self._secret(tenant_id, f"webhook/{endpoint_id}/{_FIRST_SECRET}")
        user_id = current_principal().user_id
        async with self._tenants.transaction(tenant_id) as connection:
            if await endpoints.insert(
                connection, tenant_id, endpoint_id, name, spec, request_id, user_id
            ):
                await audit.append(connection, "webhook.create", "webhook", name)
                return await _find(connection, name), secret
            found = await endpoints.find_by_request(connection, request_id)
        if found is None:
            await self._forget(tenant_id, f"webhook/{endpoint_id}/{_FIRST_SECRET}")
            raise WebhookEndpointExists(name)
        endpoint, digest = found
        if (endpoint.name, digest) != (name, spec.digest):
            raise RequestIdReused(request_id, "webhook endpoint")
        return endpoint, secret

    async def update(
        self, tenant_id: str, name: str, spec: WebhookSpec, *, disabled: bool
    ) -> WebhookEndpoint:
        """Replace what an endpoint is.

        Raises PermissionDenied, WebhookEndpointNotFound and WebhookInvalid.
        """
        require_permission(_READS_RUNS)
        self._check(spec)
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            if await endpoints.update(connection, tenant_id, name, spec, disabled=disabled):
                await audit.append(connection, "webhook.update", "webhook", name)
            return await _find(connection, name)

    async def rotate_secret(self, tenant_id: str, name: str, request_id: str) -> str:
        """Return an endpoint's new secret; the same one for the same request, until the next.

        Raises WebhookEndpointNotFound.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            if await endpoints.rotate(connection, name, request_id):
                await audit.append(connection, "webhook.rotate_secret", "webhook", name)
            endpoint = await _find(connection, name)
        if endpoint.secret > _FIRST_SECRET + 1:
            await self._forget(tenant_id, endpoint.secret_name(endpoint.secret - 2))
        return await self._secret(tenant_id, endpoint.secret_name(endpoint.secret))

    async def delete(self, tenant_id: str, name: str) -> None:
        """Delete an endpoint; nothing happens if there is none.

        It is disabled first, and its deliveries are deleted some at a time, so that the endpoint's
        row is locked for a moment only. A call that breaks off leaves it disabled.
        """
        async with self._tenants.connection(tenant_id) as connection:
            endpoint = await endpoints.find(connection, name)
            if endpoint is None:
                return
            await endpoints.disable(connection, endpoint.endpoint_id, "it is being deleted")
            while await deliveries.delete_some(connection, endpoint.endpoint_id):
                pass
        async with self._tenants.transaction(tenant_id) as connection:
            await endpoints.delete(connection, name)
            await audit.append(connection, "webhook.delete", "webhook", name)
        for number in (endpoint.secret - 1, endpoint.secret):
            await self._forget(tenant_id, endpoint.secret_name(number))

    async def replay(self, tenant_id: str, name: str, run_id: str, from_sequence: int) -> int:
        """Send events of one run again from a number on, or what has failed of every run.

        Returns of how many runs. Raises PermissionDenied, WebhookEndpointNotFound and RunNotFound.
        """
        require_permission(_READS_RUNS)
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            endpoint = await _find(connection, name)
            if not run_id:
                count = await deliveries.replay_failed(connection, endpoint.endpoint_id)
            elif await run_store.find(connection, run_id) is None:
                raise RunNotFound(run_id)
            else:
                count = await deliveries.replay_run(
                    connection, endpoint.endpoint_id, run_id, max(from_sequence, 1)
                )
                if not count:  # deleted meanwhile
                    raise WebhookEndpointNotFound(name)
            await audit.append(connection, "webhook.replay", "webhook", name)
        return count

    def _check(self, spec: WebhookSpec) -> None:
        faults = spec.violations(self._receivers)
        if faults:
            raise WebhookInvalid(faults)

    async def _secret(self, tenant_id: str, name: str) -> str:
        return SECRET_PREFIX + await self._secrets.ensure(tenant_id, name)

    async def _forget(self, tenant_id: str, name: str) -> None:
        """Delete a secret that nothing needs any more; one that stays does no harm."""
        try:
            await self._secrets.delete(tenant_id, name)
        except DomainError as error:
            _log.warning(
                "a secret that nothing needs any more was not deleted",
                extra={
                    "event": "webhook.secret_left",
                    "tenant_id": tenant_id,
                    "name": name,
                    "why": error.message,
                },
            )


async def _find(connection: Connection, name: str) -> WebhookEndpoint:
    found = await endpoints.find(connection, name)
    if found is None:
        raise WebhookEndpointNotFound(name)
    return found
