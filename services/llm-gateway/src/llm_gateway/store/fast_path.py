"""The usual beginning and the usual end of calls: one statement each, for one call or for many.

For one call a statement takes values, for many arrays of them: with arrays a single call costs a
fifth more. A statement does what is usual, or nothing for a call: then the transactions of `ledger`
decide. Of several rows it locks keys in their order and calls by id, and the head of the audit log
last, so that no two statements wait for each other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from llm_gateway.domain.usage import USAGE_FIELDS
from llm_gateway.store.attempts import COUNTS, NOTE_CHARACTERS
from llm_gateway.store.calls import KEY, RESOLUTION, key_values
from llm_gateway.store.transitions import resolution_values

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import asyncpg

    from dataplane.pools import Connection
    from llm_gateway.domain.ledger_entries import FirstSettlement, NewCall

_NEW = {
    **dict(zip(KEY.split(", "), ("uuid", "text", "int", "int", "int"), strict=True)),
    **dict.fromkeys(("request_digest", "lease_owner", *RESOLUTION.split(", ")), "text"),
    "catalog_version": "bigint",
    "user_id": "text",
    **dict.fromkeys(("tokens", "micro_usd"), "bigint"),
    **dict.fromkeys(("override_provider", "override_class"), "text"),
}
"""The parameters of a reservation, $1 and so on, with their types."""
_ENDED = {
    "call_id": "bigint",
    **dict.fromkeys(("lease_owner", "price_id"), "text"),
    "http_status": "int",
    "provider_request_id": "text",
    "estimated": "bool",
    **dict.fromkeys(("note", "finish_reason", "output_digest", "summary", "settled_by"), "text"),
    **dict.fromkeys(COUNTS, "bigint"),
    "body": "bytea",
}
"""The parameters of a settlement."""
_NOT_GIVEN = ("lease_owner", "body")
"""Those that a settlement uses outside of `given`: what is in there is copied."""


def _row(parameters: Mapping[str, str], without: Collection[str] = ()) -> str:
    """Return a query of one row, whose columns are the parameters."""
    columns = [
        f"${number}::{kind} AS {name}"
        for number, (name, kind) in enumerate(parameters.items(), 1)
        if name not in without
    ]
    return f"SELECT {', '.join(columns)}"


def _rows(parameters: Mapping[str, str], without: Collection[str] = ()) -> str:
    """Return a query of many rows, whose columns are arrays in the parameters."""
    arrays = {
        name: f"${number}::{kind}[]"
        for number, (name, kind) in enumerate(parameters.items(), 1)
        if name not in without
    }
    return f"SELECT * FROM unnest({', '.join(arrays.values())}) AS given ({', '.join(arrays)})"


_RESERVE = f"""
    WITH given AS ({{given}}),
    -- nothing where the key is taken, or the tenant's override is another by now
    reserved AS (
        INSERT INTO llm_calls (
            {KEY}, request_digest, state, lease_owner, owner_endpoint, lease_expires,
            {RESOLUTION}, user_id
        )
        SELECT {", ".join(f"given.{name.strip()}" for name in KEY.split(","))}, request_digest,
               'dispatched', lease_owner, $20, clock_timestamp() + $21,
               {", ".join(f"given.{name.strip()}" for name in RESOLUTION.split(","))}, user_id
          FROM given LEFT JOIN step_overrides AS chosen ON chosen.step = given.step
         WHERE chosen.provider_id IS NOT DISTINCT FROM override_provider
           AND chosen.model_class IS NOT DISTINCT FROM override_class
         ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT ON CONSTRAINT llm_calls_key DO NOTHING
        RETURNING id, lease_owner
    ),
    -- their first attempts, dispatched
    sent AS (
        INSERT INTO llm_call_attempts (
            call_id, attempt, state, provider_id, model_id, price_id,
            input_tokens, cost_micro_usd, estimated
        )
        SELECT id, 1, 'dispatched', provider_id, model_id, price_id, tokens, micro_usd, true
          FROM reserved JOIN given USING (lease_owner)
    )
    SELECT id, lease_owner FROM reserved
"""
_RESERVE_ONE, _RESERVE_MANY = (_RESERVE.format(given=each(_NEW)) for each in (_row, _rows))

_SETTLE = f"""
    WITH given AS ({{given}}),
    -- locks the calls' rows first, as every transaction does; one that is locked by another is left
    -- out, so that it delays no other call; a lease owner has one call
    held AS (
        SELECT id, model_id, format('%s/%s/%s-%s/%s', {KEY}) AS key FROM llm_calls
         WHERE {{held}} AND state = 'dispatched'
         ORDER BY id
           FOR UPDATE SKIP LOCKED
    ),
    -- the first attempt
    ended AS (
        UPDATE llm_call_attempts AS attempts
           SET state = 'settled', price_id = given.price_id, http_status = given.http_status,
               provider_request_id = given.provider_request_id, error = '', note = given.note,
               estimated = given.estimated, ended_at = clock_timestamp(),
               {", ".join(f"{name} = given.{name}" for name in COUNTS)}
          FROM held JOIN given ON given.call_id = held.id
         WHERE attempts.call_id = held.id AND attempts.attempt = 1
        RETURNING attempts.call_id, attempts.dispatched_at, attempts.ended_at
    ),
    -- the call, whose lease is over
    settled AS (
        UPDATE llm_calls
           SET state = 'settled', ended_at = clock_timestamp(), price_id = given.price_id,
               finish_reason = given.finish_reason, output_digest = given.output_digest,
               summary = given.summary,
               lease_owner = NULL, owner_endpoint = NULL, lease_expires = NULL,
               {", ".join(f"{name} = given.{name}" for name in COUNTS)}
          FROM held JOIN given ON given.call_id = held.id
         WHERE llm_calls.id = held.id
        RETURNING llm_calls.id, llm_calls.created_at, llm_calls.ended_at
    ),
    -- the reply
    stored AS (
        INSERT INTO llm_call_replies (call_id, attempt, body)
        SELECT call_id, 1, body
          FROM held JOIN {{replies}} AS replies (call_id, body) ON replies.call_id = held.id
        RETURNING call_id
    ),
    -- not before all rows are locked: until its own migration the audit log locks its head
    noted AS (
        SELECT held.id, audit_append(
                   settled_by, 'call.settle', 'call', key, jsonb_build_object(
                       'model', model_id, 'attempt', 1, 'cost_micro_usd', given.cost_micro_usd
                   )
               )
          FROM (SELECT count(*) FROM settled) AS all_settled,
               held JOIN given ON given.call_id = held.id
    )
    SELECT settled.id, settled.created_at, settled.ended_at,
           ended.dispatched_at, ended.ended_at AS attempt_ended_at
      FROM settled
      JOIN ended ON ended.call_id = settled.id
      JOIN stored ON stored.call_id = settled.id
      JOIN noted ON noted.id = settled.id
"""
_SETTLE_ONE = _SETTLE.format(
    given=_row(_ENDED, _NOT_GIVEN),
    held="id = $1 AND lease_owner = $2",
    replies="(SELECT $1, $18::bytea)",
)
_SETTLE_MANY = _SETTLE.format(
    given=_rows(_ENDED, _NOT_GIVEN),
    held="id = ANY($1) AND lease_owner = ANY($2)",
    replies="unnest($1, $18::bytea[])",
)


async def reserve(connection: Connection, calls: Sequence[NewCall]) -> list[int | None]:
    """Reserve new keys, and record their first attempts, about to be sent.

    Returns the calls' ids in their order; None for a key that is taken, and where the override is
    another. All leases are of one process. Raises ForeignKeyViolationError if a run does not exist.
    """
    rows = [
        (
            *key_values(each.request.key),
            each.request.digest,
            each.lease.owner,
            *resolution_values(each.reservation.resolution),
            each.request.user_id,
            each.reservation.estimated_tokens,
            each.reservation.estimated_micro_usd,
            None if each.override is None else each.override.provider_id,
            None if each.override is None else each.override.model_class,
        )
        for each in calls
    ]
    lease = calls[0].lease
    reserved = await connection.fetch(
        *_statement(_RESERVE_ONE, _RESERVE_MANY, rows),
        lease.endpoint,
        timedelta(seconds=lease.seconds),
    )
    ids = {row["lease_owner"]: row["id"] for row in reserved}
    return [ids.get(each.lease.owner) for each in calls]


async def settle(
    connection: Connection, settlements: Sequence[FirstSettlement]
) -> list[asyncpg.Record | None]:
    """Settle calls by their first attempts, store their replies, and note it in the audit log.

    Returns the moments of call and attempt, in order; None, and nothing is changed, for a call that
    is not being sent under this lease, or whose row is locked. A later attempt could not be settled
    so: what another process books of an earlier one just before the row is locked would be left out
    of the call's sum. Raises UndefinedTableError until the migration has run.
    """
    rows = [
        (
            each.call_id,
            each.lease.owner,
            each.settlement.result.price_id,
            each.settlement.result.http_status,
            each.settlement.result.provider_request_id,
            each.settlement.result.estimated,
            each.settlement.result.note[:NOTE_CHARACTERS],
            each.settlement.output.finish_reason,
            each.settlement.output.digest,
            each.settlement.output.summary,
            each.request.user_id,
            *(getattr(each.settlement.result.usage, name) for name in USAGE_FIELDS),
            each.settlement.result.cost_micro_usd,
            each.body,
        )
        for each in settlements
    ]
    settled = await connection.fetch(*_statement(_SETTLE_ONE, _SETTLE_MANY, rows))
    found = {row["id"]: row for row in settled}
    return [found.get(each.call_id) for each in settlements]


def _statement(one: str, many: str, rows: Sequence[tuple[object, ...]]) -> tuple[Any, ...]:
    """Return the statement for so many rows, and its first parameters."""
    if len(rows) == 1:
        return one, *rows[0]
    return many, *map(list, zip(*rows, strict=True))
