"""The table `llm_call_attempts`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from llm_gateway.domain.attempts import CallAttempt, CallState, Refusal, UnusableReply
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.usage import USAGE_FIELDS, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from llm_gateway.domain.attempts import AttemptResult, AttemptUsage, KeyBackoff, Reservation


COUNTS = (*USAGE_FIELDS, "cost_micro_usd")
"""The columns that calls and attempts have for what was used."""
NOTE_CHARACTERS = 500


async def insert(
    connection: Connection, call_id: int, number: int, reservation: Reservation
) -> None:
    """Record an attempt about to be sent, with its input estimated until more is known."""
    await connection.execute(
        """
        INSERT INTO llm_call_attempts (
            call_id, attempt, state, provider_id, model_id, price_id,
            input_tokens, cost_micro_usd, estimated
        )
        VALUES ($1, $2, 'dispatched', $3, $4, $5, $6, $7, true)
        """,
        call_id,
        number,
        reservation.resolution.provider_id,
        reservation.resolution.model_id,
        reservation.resolution.price_id,
        reservation.estimated_tokens,
        reservation.estimated_micro_usd,
    )


async def end(connection: Connection, call_id: int, number: int, result: AttemptResult) -> None:
    """Record what became of an attempt; a settled one stays settled."""
    await connection.execute(
        """
        UPDATE llm_call_attempts
           SET state = $3, price_id = $4, http_status = $5, provider_request_id = $6,
               error = $7, estimated = $8, cost_micro_usd = $9,
               input_tokens = $10, cache_read_tokens = $11, cache_write_tokens = $12,
               output_tokens = $13, reasoning_tokens = $14,
               ended_at = clock_timestamp()
         WHERE call_id = $1 AND attempt = $2 AND state <> 'settled'
        """,
        call_id,
        number,
        result.state,
        result.price_id,
        result.http_status,
        result.provider_request_id,
        result.error,
        result.estimated,
        result.cost_micro_usd,
        *(getattr(result.usage, name) for name in USAGE_FIELDS),
    )


async def mark_cut(connection: Connection, call_id: int, number: int, limit_tokens: int) -> None:
    """Record the token limit that cut an attempt's reply off and so made it unusable."""
    await connection.execute(
        "UPDATE llm_call_attempts SET cut_at_tokens = $3 WHERE call_id = $1 AND attempt = $2",
        call_id,
        number,
        limit_tokens,
    )


async def mark_refused(connection: Connection, call_id: int, number: int) -> None:
    """Record that an attempt's reply is unusable because the model declined."""
    await connection.execute(
        "UPDATE llm_call_attempts SET reply_refused = true WHERE call_id = $1 AND attempt = $2",
        call_id,
        number,
    )


async def set_provider_error(
    connection: Connection, call_id: int, number: int, result: AttemptResult
) -> None:
    """Record the provider's error, and why else an attempt's reply is unusable."""
    error = result.provider_error
    try:
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE llm_call_attempts
                   SET reply_useless = $3, provider_code = $4, provider_type = $5,
                       provider_param = $6, provider_message = $7, reply_digest = $8
                 WHERE call_id = $1 AND attempt = $2
                """,
                call_id,
                number,
                result.unusable,
                error.code,
                error.type,
                error.param,
                error.message,
                result.reply_digest,
            )
    except asyncpg.UndefinedColumnError:
        return  # until the migration has run: the attempt matters more


async def set_note(connection: Connection, call_id: int, number: int, note: str) -> None:
    """Record why an attempt's usage or cost are estimates, and what was omitted."""
    try:
        async with connection.transaction():
            await connection.execute(
                "UPDATE llm_call_attempts SET note = $3 WHERE call_id = $1 AND attempt = $2",
                call_id,
                number,
                note[:NOTE_CHARACTERS],
            )
    except asyncpg.UndefinedColumnError:
        return  # until the migration has run: the attempt matters more


async def set_backoff(
    connection: Connection, call_id: int, number: int, backoff: KeyBackoff
) -> None:
    """Record when more may be sent after an attempt, and the error that callers get before."""
    refusal = None if backoff.refusal is None else json.dumps(asdict(backoff.refusal))
    try:
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE llm_call_attempts
                   SET retry_at = clock_timestamp() + $3, refusal = $4::jsonb
                 WHERE call_id = $1 AND attempt = $2
                """,
                call_id,
                number,
                timedelta(seconds=backoff.seconds),
                refusal,
            )
    except asyncpg.UndefinedColumnError:
        return  # until the migration has run: the attempt matters more


async def update_usage(connection: Connection, usages: Sequence[AttemptUsage]) -> None:
    """Record what attempts in flight have used so far: all that is known if their process dies."""
    counts = [[getattr(each.usage, name) for each in usages] for name in USAGE_FIELDS]
    await connection.execute(
        f"""
        -- waits for no row, so that it delays nobody: what is locked is about to end
        WITH held AS (
            SELECT attempts.call_id, attempts.attempt, {", ".join(f"spent.{n}" for n in COUNTS)}
              FROM llm_call_attempts AS attempts
              JOIN unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                          $6::bigint[], $7::bigint[], $8::bigint[])
                   AS spent (call_id, attempt, {", ".join(COUNTS)})
                   USING (call_id, attempt)
             WHERE attempts.state = 'dispatched'
               FOR NO KEY UPDATE OF attempts SKIP LOCKED
        )
        UPDATE llm_call_attempts AS attempts
           SET {", ".join(f"{name} = held.{name}" for name in COUNTS)}
          FROM held
         WHERE attempts.call_id = held.call_id AND attempts.attempt = held.attempt
        """,
        [each.call_id for each in usages],
        [each.attempt for each in usages],
        *counts,
        [each.cost_micro_usd for each in usages],
    )


async def mark_unknown(connection: Connection, call_id: int, number: int, error: str) -> None:
    """Record that an attempt's outcome is unknown; its estimate stays."""
    await connection.execute(
        """
        UPDATE llm_call_attempts SET state = 'unknown', error = $3, ended_at = clock_timestamp()
         WHERE call_id = $1 AND attempt = $2 AND state = 'dispatched'
        """,
        call_id,
        number,
        error,
    )


async def mark_displaced(connection: Connection, call_id: int, number: int, error: str) -> None:
    """Record that an attempt's reply does not count; its usage is recorded already."""
    await connection.execute(
        """
        UPDATE llm_call_attempts SET state = 'failed', error = $3, ended_at = clock_timestamp()
         WHERE call_id = $1 AND attempt = $2 AND state IN ('dispatched', 'unknown')
        """,
        call_id,
        number,
        error,
    )


def attempts_of(rows: str) -> tuple[CallAttempt, ...]:
    """Read a call's attempts from the JSON that PostgreSQL makes of their rows."""
    return tuple(map(_attempt, json.loads(rows)))


def usage(row: Mapping[str, Any]) -> Usage:
    return Usage(*(row[name] for name in USAGE_FIELDS))


def _attempt(row: Mapping[str, Any]) -> CallAttempt:
    return CallAttempt(
        number=row["attempt"],
        state=CallState(row["state"]),
        model_id=row["model_id"],
        provider_request_id=row["provider_request_id"],
        http_status=row["http_status"],
        error=row["error"],
        usage=usage(row),
        cost_micro_usd=row["cost_micro_usd"],
        estimated=row["estimated"],
        dispatched_at=datetime.fromisoformat(row["dispatched_at"]),
        ended_at=_moment(row["ended_at"]),
        # These columns are missing until their migrations have run in a tenant's database.
        cut_at_tokens=row.get("cut_at_tokens"),
        reply_refused=row.get("reply_refused", False),
        note=row.get("note", ""),
        unusable=_unusable(row.get("reply_useless")),
        reply_digest=row.get("reply_digest", ""),
        provider_error=ProviderError(
            *(row.get(f"provider_{name}", "") for name in ("code", "type", "param", "message"))
        ),
        retry_at=_moment(row.get("retry_at")),
        refusal=_refusal(row.get("refusal")),
    )


def _unusable(word: str | None) -> UnusableReply | None:
    return None if word is None else UnusableReply(word)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _refusal(fields: dict[str, Any] | None) -> Refusal | None:
    return None if fields is None else Refusal(**fields)
