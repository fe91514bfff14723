"""The table `llm_call_attempts`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from llm_gateway.domain.calls import Attempt, CallState, Refusal, Useless
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.usage import USAGE_FIELDS, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from llm_gateway.domain.calls import Bound, Ending, Plan, Spent


_NOTE_CHARACTERS = 500


class AttemptStore:
    async def insert(self, connection: Connection, call_id: int, number: int, plan: Plan) -> None:
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
            plan.resolution.provider_id,
            plan.resolution.model_id,
            plan.resolution.price_id,
            plan.estimated_tokens,
            plan.estimated_micro_usd,
        )

    async def end(self, connection: Connection, call_id: int, number: int, ending: Ending) -> None:
        """Record what became of an attempt; what has been paid for and stored stays so."""
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
            ending.state,
            ending.price_id,
            ending.http_status,
            ending.provider_request_id,
            ending.error,
            ending.estimated,
            ending.cost_micro_usd,
            *(getattr(ending.usage, name) for name in USAGE_FIELDS),
        )

    async def mark_cut(
        self, connection: Connection, call_id: int, number: int, limit_tokens: int
    ) -> None:
        """Record the limit that cut an attempt's reply off, and made it useless."""
        await connection.execute(
            "UPDATE llm_call_attempts SET cut_at_tokens = $3 WHERE call_id = $1 AND attempt = $2",
            call_id,
            number,
            limit_tokens,
        )

    async def mark_refused(self, connection: Connection, call_id: int, number: int) -> None:
        """Record that an attempt's reply is of no use, because the model declined."""
        await connection.execute(
            "UPDATE llm_call_attempts SET reply_refused = true WHERE call_id = $1 AND attempt = $2",
            call_id,
            number,
        )

    async def tell(self, connection: Connection, call_id: int, number: int, ending: Ending) -> None:
        """Record what a provider said of an attempt, and why its reply is of no use."""
        told = ending.told
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
                    ending.useless,
                    told.code,
                    told.type,
                    told.param,
                    told.message,
                    ending.reply_digest,
                )
        except asyncpg.UndefinedColumnError:
            return  # the migration is still to come, and the attempt itself is worth more

    async def note(self, connection: Connection, call_id: int, number: int, note: str) -> None:
        """Record what is to be known of an attempt, its estimates above all."""
        try:
            async with connection.transaction():
                await connection.execute(
                    "UPDATE llm_call_attempts SET note = $3 WHERE call_id = $1 AND attempt = $2",
                    call_id,
                    number,
                    note[:_NOTE_CHARACTERS],
                )
        except asyncpg.UndefinedColumnError:
            return  # the migration is still to come, and the attempt itself is worth more

    async def bind(self, connection: Connection, call_id: int, number: int, bound: Bound) -> None:
        """Record when more may be sent after an attempt, and what is told to who asks before."""
        refusal = None if bound.refusal is None else json.dumps(asdict(bound.refusal))
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
                    timedelta(seconds=bound.seconds),
                    refusal,
                )
        except asyncpg.UndefinedColumnError:
            return  # the migration is still to come, and the attempt itself is worth more

    async def estimate(self, connection: Connection, spent: Sequence[Spent]) -> None:
        """Record what attempts under way have used so far: all that is known if they get lost."""
        counts = [[getattr(each.usage, name) for each in spent] for name in USAGE_FIELDS]
        await connection.execute(
            f"""
            UPDATE llm_call_attempts AS attempts
               SET cost_micro_usd = spent.cost,
                   {", ".join(f"{name} = spent.{name}" for name in USAGE_FIELDS)}
              FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                          $6::bigint[], $7::bigint[], $8::bigint[])
                   AS spent (call_id, attempt, cost, {", ".join(USAGE_FIELDS)})
             WHERE attempts.call_id = spent.call_id AND attempts.attempt = spent.attempt
               AND attempts.state = 'dispatched'
            """,
            [each.call_id for each in spent],
            [each.attempt for each in spent],
            [each.cost_micro_usd for each in spent],
            *counts,
        )

    async def lose(self, connection: Connection, call_id: int, number: int, error: str) -> None:
        """Record that nobody knows what became of an attempt; its estimate stays."""
        await connection.execute(
            """
            UPDATE llm_call_attempts SET state = 'unknown', error = $3, ended_at = clock_timestamp()
             WHERE call_id = $1 AND attempt = $2 AND state = 'dispatched'
            """,
            call_id,
            number,
            error,
        )

    async def displace(self, connection: Connection, call_id: int, number: int, error: str) -> None:
        """Record that an attempt's reply does not count; what it used has been booked."""
        await connection.execute(
            """
            UPDATE llm_call_attempts SET state = 'failed', error = $3, ended_at = clock_timestamp()
             WHERE call_id = $1 AND attempt = $2 AND state IN ('dispatched', 'unknown')
            """,
            call_id,
            number,
            error,
        )


def attempts(rows: str) -> tuple[Attempt, ...]:
    """Read a call's attempts from the JSON that PostgreSQL makes of their rows."""
    return tuple(map(_attempt, json.loads(rows)))


def usage(row: Mapping[str, Any]) -> Usage:
    return Usage(*(row[name] for name in USAGE_FIELDS))


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return Attempt(
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
        # None of these is there where the migration is still to come.
        cut_at_tokens=row.get("cut_at_tokens"),
        reply_refused=row.get("reply_refused", False),
        note=row.get("note", ""),
        useless=_useless(row.get("reply_useless")),
        reply_digest=row.get("reply_digest", ""),
        told=ProviderError(
            *(row.get(f"provider_{name}", "") for name in ("code", "type", "param", "message"))
        ),
        retry_at=_moment(row.get("retry_at")),
        refusal=_refusal(row.get("refusal")),
    )


def _useless(word: str | None) -> Useless | None:
    return None if word is None else Useless(word)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _refusal(told: dict[str, Any] | None) -> Refusal | None:
    return None if told is None else Refusal(**told)
