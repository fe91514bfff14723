"""The writes to `llm_calls`: each function takes a call from one state to another.

The usual beginning and end of a call are in `fast_path`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from llm_gateway.store.attempts import COUNTS
from llm_gateway.store.calls import RESOLUTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from llm_gateway.domain.attempts import CallState
    from llm_gateway.domain.calls import CallLease, CallOutput
    from llm_gateway.domain.models import Resolution

_TOTALS = ", ".join(f"{name} = total.{name}" for name in COUNTS)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in COUNTS)


async def dispatch(
    connection: Connection, call_id: int, resolution: Resolution, lease: CallLease
) -> None:
    """Set a call dispatched: lease, state, and how its model was chosen."""
    await connection.execute(
        f"""
        UPDATE llm_calls
           SET state = 'dispatched', ended_at = NULL,
               lease_owner = $2, owner_endpoint = $3, lease_expires = clock_timestamp() + $4,
               ({RESOLUTION}) = ($5, $6, $7, $8, $9, $10, $11)
         WHERE id = $1
        """,
        call_id,
        *_lease_values(lease),
        *resolution_values(resolution),
    )


async def renew_leases(
    connection: Connection, call_ids: Sequence[int], lease: CallLease
) -> list[int]:
    """Extend the leases of calls that this process still holds; return the ids of those."""
    renewed = await connection.fetch(
        """
        -- waits for no row: what is locked is about to end, or is renewed the next time
        WITH held AS (
            SELECT id FROM llm_calls WHERE id = ANY($1) AND starts_with(lease_owner, $2)
               FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE llm_calls SET lease_expires = clock_timestamp() + $3
          FROM held
         WHERE llm_calls.id = held.id
        RETURNING llm_calls.id
        """,
        call_ids,
        lease.owner,
        timedelta(seconds=lease.seconds),
    )
    return [row["id"] for row in renewed]


async def update_totals(connection: Connection, call_id: int) -> None:
    """Set a call's usage and cost to the sums over its attempts."""
    await connection.execute(
        f"""
        UPDATE llm_calls SET {_TOTALS}
          FROM (SELECT {_SUMS} FROM llm_call_attempts WHERE call_id = $1) AS total
         WHERE id = $1
        """,
        call_id,
    )


async def hold(connection: Connection, call_id: int, lease: CallLease) -> None:
    """Set a call reserved: held between two attempts, with nothing in flight."""
    await connection.execute(
        """
        UPDATE llm_calls
           SET state = 'reserved',
               lease_owner = $2, owner_endpoint = $3, lease_expires = clock_timestamp() + $4
         WHERE id = $1
        """,
        call_id,
        *_lease_values(lease),
    )


async def end(connection: Connection, call_id: int, state: CallState) -> None:
    """End a call without a reply: failed or unknown."""
    await connection.execute(
        """
        UPDATE llm_calls
           SET state = $2, ended_at = clock_timestamp(),
               lease_owner = NULL, owner_endpoint = NULL, lease_expires = NULL
         WHERE id = $1
        """,
        call_id,
        state,
    )


async def settle(connection: Connection, call_id: int, output: CallOutput, price_id: str) -> None:
    """Settle a call; its reply is stored in the same transaction, or is a file already."""
    await connection.execute(
        """
        UPDATE llm_calls
           SET state = 'settled', ended_at = clock_timestamp(), price_id = $6,
               finish_reason = $2, output_path = $3, output_digest = $4, summary = $5,
               lease_owner = NULL, owner_endpoint = NULL, lease_expires = NULL
         WHERE id = $1
        """,
        call_id,
        output.finish_reason,
        output.path or None,
        output.digest,
        output.summary,
        price_id,
    )


def _lease_values(lease: CallLease) -> tuple[object, ...]:
    return (lease.owner, lease.endpoint, timedelta(seconds=lease.seconds))


def resolution_values(chosen: Resolution) -> tuple[object, ...]:
    return (
        chosen.provider_id,
        chosen.model_id,
        chosen.model_name,
        chosen.model_class,
        chosen.rule,
        chosen.price_id,
        chosen.catalog_version,
    )
