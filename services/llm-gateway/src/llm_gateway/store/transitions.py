"""The writes to `llm_calls`: each function takes a call from one state to another."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from llm_gateway.domain.usage import USAGE_FIELDS
from llm_gateway.errors import RunNotFound
from llm_gateway.store.calls import KEY, RESOLUTION, key_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from llm_gateway.domain.attempts import AttemptResult, CallState, Reservation
    from llm_gateway.domain.calls import CallKey, CallLease, CallOutput
    from llm_gateway.domain.models import Resolution
    from llm_gateway.domain.requests import CallRequest

_COUNTS = (*USAGE_FIELDS, "cost_micro_usd")
_TOTALS = ", ".join(f"{name} = total.{name}" for name in _COUNTS)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _COUNTS)
_COUNTED = ", ".join(f"{name} = ${n}" for n, name in enumerate(_COUNTS, 10))

# The usual beginning of a call in one statement: the call, then its first attempt.
_RESERVE = f"""
    -- no row when the key is taken
    WITH reserved AS (
        INSERT INTO llm_calls (
            {KEY}, request_digest, state, lease_owner, owner_endpoint, lease_expires,
            {RESOLUTION}, user_id
        )
        VALUES ($1, $2, $3, $4, $5, $6, 'dispatched', $7, $8, clock_timestamp() + $9,
                $10, $11, $12, $13, $14, $15, $16, $17)
        ON CONFLICT ON CONSTRAINT llm_calls_key DO NOTHING
        RETURNING id, provider_id, model_id, price_id
    )
    INSERT INTO llm_call_attempts (
        call_id, provider_id, model_id, price_id, attempt, state,
        input_tokens, cost_micro_usd, estimated
    )
    SELECT id, provider_id, model_id, price_id, 1, 'dispatched', $18, $19, true
      FROM reserved
    RETURNING call_id
"""

# The usual end of a call in one statement: its first attempt is its only one.
_SETTLE_FIRST = f"""
    -- locks the call's row first, as every transaction does
    WITH held AS (
        SELECT id FROM llm_calls
         WHERE id = $1 AND state = 'dispatched' AND lease_owner = $2
           FOR UPDATE
    ),
    -- settles the attempt
    ended AS (
        UPDATE llm_call_attempts
           SET state = 'settled', price_id = $3, http_status = $4, provider_request_id = $5,
               error = '', estimated = false, ended_at = clock_timestamp(), {_COUNTED}
          FROM held
         WHERE call_id = held.id AND attempt = 1
    )
    UPDATE llm_calls
       SET state = 'settled', ended_at = clock_timestamp(), price_id = $3,
           finish_reason = $6, output_path = $7, output_digest = $8, summary = $9,
           lease_owner = NULL, owner_endpoint = NULL, lease_expires = NULL, {_COUNTED}
      FROM held
     WHERE llm_calls.id = held.id
    RETURNING true
"""


async def reserve(
    connection: Connection,
    request: CallRequest,
    reservation: Reservation,
    lease: CallLease,
) -> int | None:
    """Reserve a new key and record its first attempt, about to be sent.

    None if the key is taken. Raises RunNotFound.
    """
    try:
        return await connection.fetchval(
            _RESERVE,
            *key_values(request.key),
            request.digest,
            *_lease_values(lease),
            *_resolution_values(reservation.resolution),
            request.user_id,
            reservation.estimated_tokens,
            reservation.estimated_micro_usd,
        )
    except asyncpg.ForeignKeyViolationError:
        raise RunNotFound(str(request.key.run_id)) from None


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
        *_resolution_values(resolution),
    )


async def renew_leases(connection: Connection, call_ids: Sequence[int], lease: CallLease) -> None:
    """Extend the leases of calls that this process still holds."""
    await connection.execute(
        """
        UPDATE llm_calls SET lease_expires = clock_timestamp() + $3
         WHERE id = ANY($1) AND starts_with(lease_owner, $2)
        """,
        call_ids,
        lease.owner,
        timedelta(seconds=lease.seconds),
    )


async def release(connection: Connection, key: CallKey, lease: CallLease) -> None:
    """Expire the lease now, of a call that is still held under it."""
    await connection.execute(
        f"""
        UPDATE llm_calls SET lease_expires = clock_timestamp()
         WHERE ({KEY}) = ($1, $2, $3, $4, $5) AND lease_owner = $6
        """,
        *key_values(key),
        lease.owner,
    )


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
    """Settle a call whose reply is stored."""
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
        output.path,
        output.digest,
        output.summary,
        price_id,
    )


async def settle_first(
    connection: Connection,
    call_id: int,
    result: AttemptResult,
    output: CallOutput,
    lease: CallLease,
) -> bool:
    """Record a first attempt whose reply is stored, and settle its call with it.

    False, and nothing is changed, when the call is not being sent under this lease. For later
    attempts it would not do: what another process books of an earlier one while the statement
    waits for the row would be left out of the call's sum.
    """
    done = await connection.fetchval(
        _SETTLE_FIRST,
        call_id,
        lease.owner,
        result.price_id,
        result.http_status,
        result.provider_request_id,
        output.finish_reason,
        output.path,
        output.digest,
        output.summary,
        *(getattr(result.usage, name) for name in USAGE_FIELDS),
        result.cost_micro_usd,
    )
    return done is not None


def _lease_values(lease: CallLease) -> tuple[object, ...]:
    return (lease.owner, lease.endpoint, timedelta(seconds=lease.seconds))


def _resolution_values(chosen: Resolution) -> tuple[object, ...]:
    return (
        chosen.provider_id,
        chosen.model_id,
        chosen.model_name,
        chosen.model_class,
        chosen.rule,
        chosen.price_id,
        chosen.catalog_version,
    )
