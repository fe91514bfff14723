"""The table `llm_calls`, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

import paging
from llm_gateway.domain.attempts import CallState
from llm_gateway.domain.calls import CallKey, CallOutput, LlmCall, RunUsage
from llm_gateway.domain.models import ModelClass, Resolution, ResolutionRule
from llm_gateway.domain.usage import USAGE_FIELDS, FinishReason
from llm_gateway.store.attempts import attempts_of, usage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from dataplane.pools import Connection

KEY = "run_id, step, item, visit, call"
RESOLUTION = "provider_id, model_id, model_name, model_class, rule, price_id, catalog_version"
_SELECT = f"""
    SELECT id, {KEY}, request_digest, state, lease_owner,
           coalesce(lease_expires > clock_timestamp(), false) AS lease_live,
           {RESOLUTION}, {", ".join(USAGE_FIELDS)}, cost_micro_usd,
           finish_reason, output_path, output_digest, summary, user_id, created_at, ended_at,
           clock_timestamp() AS read_at,
           coalesce(
               (SELECT json_agg(attempts ORDER BY attempt)
                  FROM llm_call_attempts AS attempts WHERE call_id = llm_calls.id),
               '[]'
           ) AS attempts
      FROM llm_calls
"""
_OF_KEY = f"({KEY}) = ($1, $2, $3, $4, $5)"


async def find(connection: Connection, key: CallKey) -> LlmCall | None:
    row = await connection.fetchrow(f"{_SELECT} WHERE {_OF_KEY}", *key_values(key))
    return None if row is None else _call(row)


async def find_endpoint(connection: Connection, call_id: int) -> str | None:
    """Return the address of the process that holds a call; None when none does."""
    return await connection.fetchval("SELECT owner_endpoint FROM llm_calls WHERE id = $1", call_id)


async def find_with_override(
    connection: Connection, key: CallKey
) -> tuple[LlmCall | None, ModelClass | None]:
    """Return a call, and the tenant's override for its step."""
    row = await connection.fetchrow(
        f"""
        SELECT found.*,
               chosen.provider_id AS override_provider, chosen.model_class AS override_class
          FROM (VALUES ($2)) AS requested (step)
          LEFT JOIN step_overrides AS chosen USING (step)
          LEFT JOIN ({_SELECT} WHERE {_OF_KEY}) AS found ON true
        """,
        *key_values(key),
    )
    if row is None:
        return None, None
    provider_id = row["override_provider"]
    override = None if provider_id is None else ModelClass(provider_id, row["override_class"])
    return (None if row["id"] is None else _call(row)), override


async def lock(connection: Connection, key: CallKey) -> LlmCall | None:
    """Return a call, locked until the transaction ends."""
    # Two statements: one that waited for the lock would show the attempts as of before.
    await connection.execute(
        f"SELECT 1 FROM llm_calls WHERE {_OF_KEY} FOR UPDATE",
        *key_values(key),
    )
    return await find(connection, key)


async def list_expired(
    connection: Connection, seconds: float, after: int, size: int
) -> tuple[LlmCall, ...]:
    """Return calls whose lease expired so many seconds ago, ordered by id, from `after` on."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
         WHERE lease_owner IS NOT NULL
           AND lease_expires < clock_timestamp() - make_interval(secs => $1)
           AND id > $2
         ORDER BY id
         LIMIT $3
        """,
        seconds,
        after,
        size,
    )
    return tuple(map(_call, rows))


async def list_with_kept_reply(
    connection: Connection, after: int, size: int
) -> tuple[LlmCall, ...]:
    """Return calls without a lease whose reply is kept, ordered by id, from `after` on."""
    try:
        rows = await connection.fetch(
            f"""
            {_SELECT}
             WHERE lease_owner IS NULL
               AND id IN (SELECT call_id FROM llm_replies WHERE call_id > $1)
             ORDER BY id
             LIMIT $2
            """,
            after,
            size,
        )
    except asyncpg.UndefinedTableError:
        return ()  # until the migration has run
    return tuple(map(_call, rows))


async def any_open(connection: Connection) -> bool:
    """Whether some process holds calls, or held them when it died."""
    return await connection.fetchval(
        "SELECT EXISTS (SELECT FROM llm_calls WHERE lease_owner IS NOT NULL)"
    )


async def usage_by_run(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, RunUsage]:
    """Return the sums over the calls of runs, by run; runs without calls are left out."""
    rows = await connection.fetch(
        f"""
        SELECT run_id, count(*) AS calls, count(lease_owner) AS open_calls,
               {", ".join(f"sum({name})::bigint AS {name}" for name in USAGE_FIELDS)},
               sum(cost_micro_usd)::bigint AS cost_micro_usd
          FROM llm_calls
         WHERE run_id = ANY($1)
         GROUP BY run_id
        """,
        run_ids,
    )
    return {
        row["run_id"]: RunUsage(
            row["calls"], row["open_calls"], usage(dict(row)), row["cost_micro_usd"]
        )
        for row in rows
    }


async def page(
    connection: Connection,
    run_id: UUID | None,
    state: CallState | None,
    size: int,
    token: str,
) -> paging.Page[LlmCall]:
    """Return one page of calls, oldest first."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("run_id = {}", run_id), ("state = {}", state), ("id > {}", paging.decode(token))
    )
    rows = await connection.fetch(
        f"{_SELECT} {where} ORDER BY id LIMIT ${len(values) + 1}", *values, limit + 1
    )
    return paging.page(rows, limit, _call, "id")


def key_values(key: CallKey) -> tuple[object, ...]:
    return (key.run_id, key.step, key.item, key.visit, key.call)


def _call(row: asyncpg.Record) -> LlmCall:
    return LlmCall(
        id=row["id"],
        key=CallKey(row["run_id"], row["step"], row["item"], row["visit"], row["call"]),
        state=CallState(row["state"]),
        lease_owner=row["lease_owner"],
        lease_live=row["lease_live"],
        request_digest=row["request_digest"],
        resolution=_resolution(row),
        usage=usage(dict(row)),
        cost_micro_usd=row["cost_micro_usd"],
        output=_output(row),
        user_id=row["user_id"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        read_at=row["read_at"],
        attempts=attempts_of(row["attempts"]),
    )


def _resolution(row: asyncpg.Record) -> Resolution:
    return Resolution(
        provider_id=row["provider_id"],
        model_id=row["model_id"],
        model_name=row["model_name"],
        model_class=row["model_class"],
        rule=ResolutionRule(row["rule"]),
        price_id=row["price_id"],
        catalog_version=row["catalog_version"],
    )


def _output(row: asyncpg.Record) -> CallOutput | None:
    if row["output_digest"] is None:
        return None
    return CallOutput(
        path=row["output_path"] or "",
        digest=row["output_digest"],
        summary=row["summary"],
        finish_reason=FinishReason(row["finish_reason"]),
    )
