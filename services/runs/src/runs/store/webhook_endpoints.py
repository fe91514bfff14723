"""The table `webhook_endpoints`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import paging
from runs.domain.webhooks import FORMER_SECRET, EndpointState, WebhookEndpoint, WebhookSpec
from runs.store.webhook_deliveries import DUE

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from dataplane.pools import Connection

_COLUMNS = """
    endpoint_id, name, url, event_types, pipelines, state, disabled_reason, secret, former_until,
    user_id, created_at, updated_at
"""
_COUNTS = """
    (SELECT count(*) FROM webhook_deliveries AS one
      WHERE one.endpoint_id = found.endpoint_id AND one.state = 'pending') AS pending_runs,
    (SELECT count(*) FROM webhook_deliveries AS one
      WHERE one.endpoint_id = found.endpoint_id AND one.state = 'pending'
        AND one.failing_since IS NOT NULL) AS failing_runs,
    (SELECT count(*) FROM webhook_deliveries AS one
      WHERE one.endpoint_id = found.endpoint_id AND one.state = 'dead') AS dead_runs
"""


async def insert(
    connection: Connection,
    tenant_id: str,
    endpoint_id: str,
    name: str,
    spec: WebhookSpec,
    request_id: str,
    user_id: str,
) -> bool:
    """Insert an endpoint; return whether neither its name nor the request's id was taken."""
    found = await connection.fetchval(
        """
        INSERT INTO webhook_endpoints (endpoint_id, tenant_id, name, url, event_types, pipelines,
                                       request_id, request_digest, user_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT DO NOTHING
        RETURNING true
        """,
        UUID(endpoint_id),
        tenant_id,
        name,
        spec.url,
        list(spec.event_types),
        list(spec.pipelines),
        request_id,
        spec.digest,
        user_id,
    )
    return bool(found)


async def find(connection: Connection, name: str) -> WebhookEndpoint | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS}, {_COUNTS} FROM webhook_endpoints AS found WHERE name = $1", name
    )
    return None if row is None else _endpoint(row)


async def find_by_request(
    connection: Connection, request_id: str
) -> tuple[WebhookEndpoint, str] | None:
    """Return what a request created, and the request's digest."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS}, {_COUNTS}, request_digest
          FROM webhook_endpoints AS found WHERE request_id = $1
        """,
        request_id,
    )
    return None if row is None else (_endpoint(row), row["request_digest"])


async def find_due(
    connection: Connection, others: Collection[str], limit: int
) -> tuple[WebhookEndpoint, ...]:
    """Return endpoints that events are to be sent to now, without `others`, in any order.

    Their deliveries are not counted.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, 0 AS pending_runs, 0 AS failing_runs, 0 AS dead_runs
          FROM webhook_endpoints AS found
         WHERE state = 'enabled' AND endpoint_id <> ALL ($1)
           AND EXISTS (
               SELECT FROM webhook_deliveries AS delivery
                 JOIN runs ON runs.id = delivery.run_id
                WHERE delivery.endpoint_id = found.endpoint_id AND delivery.state = 'pending'
                  AND {DUE})
         ORDER BY random()
         LIMIT $2
        """,
        [UUID(one) for one in others],
        limit,
    )
    return tuple(map(_endpoint, rows))


async def page(connection: Connection, size: int, token: str) -> paging.Page[WebhookEndpoint]:
    """Return one page of endpoints, by name."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(("name > {}", paging.decode(token, str)))
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, {_COUNTS}
          FROM webhook_endpoints AS found {where}
         ORDER BY name LIMIT ${len(values) + 1}
        """,
        *values,
        limit + 1,
    )
    return paging.page(rows, limit, _endpoint, "name")


async def update(
    connection: Connection, tenant_id: str, name: str, spec: WebhookSpec, *, disabled: bool
) -> bool:
    """Replace what an endpoint is; return whether it has changed.

    A copy of another tenant's becomes this tenant's own.
    """
    found = await connection.fetchval(
        """
        UPDATE webhook_endpoints
           SET url = $2, event_types = $3, pipelines = $4, state = $5, disabled_reason = $6,
               tenant_id = $7, updated_at = now()
         WHERE name = $1
           AND (url, event_types, pipelines, state, tenant_id) IS DISTINCT FROM ($2, $3, $4, $5, $7)
        RETURNING true
        """,
        name,
        spec.url,
        list(spec.event_types),
        list(spec.pipelines),
        (EndpointState.DISABLED if disabled else EndpointState.ENABLED).value,
        "disabled by a call" if disabled else "",
        tenant_id,
    )
    return bool(found)


async def disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    """Send no more to an endpoint."""
    await connection.execute(
        """
        UPDATE webhook_endpoints
           SET state = 'disabled', disabled_reason = $2, updated_at = now()
         WHERE endpoint_id = $1 AND state = 'enabled'
        """,
        UUID(endpoint_id),
        reason,
    )


async def disable_copies(connection: Connection, tenant_id: str) -> None:
    """Disable what was copied with another tenant's database: its receivers were not meant."""
    await connection.execute(
        """
        UPDATE webhook_endpoints
           SET state = 'disabled', disabled_reason = 'copied from tenant ' || tenant_id,
               tenant_id = $1, updated_at = now()
         WHERE tenant_id <> $1
        """,
        tenant_id,
    )


async def rotate(connection: Connection, name: str, request_id: str) -> bool:
    """Have an endpoint use its next secret, once for each request; return whether this did it."""
    found = await connection.fetchval(
        """
        UPDATE webhook_endpoints
           SET secret = secret + 1, former_until = now() + $3, secret_request_id = $2,
               updated_at = now()
         WHERE name = $1 AND secret_request_id IS DISTINCT FROM $2
        RETURNING true
        """,
        name,
        request_id,
        FORMER_SECRET,
    )
    return bool(found)


async def delete(connection: Connection, name: str) -> None:
    """Delete an endpoint with the deliveries that are left."""
    await connection.execute("DELETE FROM webhook_endpoints WHERE name = $1", name)


def _endpoint(row: asyncpg.Record) -> WebhookEndpoint:
    return WebhookEndpoint(
        endpoint_id=str(row["endpoint_id"]),
        name=row["name"],
        spec=WebhookSpec(row["url"], tuple(row["event_types"]), tuple(row["pipelines"])),
        state=EndpointState(row["state"]),
        disabled_reason=row["disabled_reason"],
        secret=row["secret"],
        former_until=row["former_until"],
        pending_runs=row["pending_runs"],
        failing_runs=row["failing_runs"],
        dead_runs=row["dead_runs"],
        user_id=row["user_id"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
    )
