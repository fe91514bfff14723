"""The table `audit_logs`, of a tenant's database or of the management database."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

import paging
from dataplane import audit
from tenant.domain.audit import (
    START,
    AuditLog,
    ChainLink,
    Fault,
    FaultKind,
    VerifiedPart,
    fault_at_end,
    first_fault,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.pools import Connection


async def chain(connection: Connection) -> None:
    """Chain what is committed, so that it is read; not in a database that is behind."""
    with contextlib.suppress(asyncpg.UndefinedFunctionError):
        await audit.chain_all(connection)


async def chain_within(connection: Connection) -> None:
    """Chain what an open transaction has appended, too; not in a database that is behind."""
    with contextlib.suppress(asyncpg.UndefinedFunctionError):
        async with connection.transaction():  # a savepoint: the transaction outlives the error
            await audit.chain_all(connection)


async def page(connection: Connection, size: int, token: str) -> paging.Page[AuditLog]:
    """Return one page of a database's audit log, newest entry first."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(("sequence < {}", paging.decode(token)))
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM public.audit_logs {where}
         ORDER BY sequence DESC
         LIMIT ${len(values) + 1}
        """,
        *values,
        limit + 1,
    )
    return paging.page(rows, limit, _audit_log, "sequence")


async def page_for_verification(
    connection: Connection, size: int, token: str
) -> paging.Page[AuditLog]:
    """Return one page of a database's audit log, oldest entry first, `details` as text."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(("sequence > {}", paging.decode(token)))
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM public.audit_logs {where}
         ORDER BY sequence
         LIMIT ${len(values) + 1}
        """,
        *values,
        limit + 1,
    )
    return paging.page(rows, limit, _audit_log_with_text, "sequence")


async def head(connection: Connection) -> ChainLink | None:
    """Return where the log ends, by its head; None if that is gone."""
    row = await connection.fetchrow("SELECT sequence, digest FROM public.audit_head")
    return None if row is None else ChainLink(row["sequence"], row["digest"])


async def database_name(connection: Connection) -> str:
    """Return the name of the database whose log it is."""
    return await connection.fetchval("SELECT current_database()")


def _audit_log_with_text(row: asyncpg.Record) -> AuditLog:
    return replace(_audit_log(row), details=row["details"])


def _audit_log(row: asyncpg.Record) -> AuditLog:
    return AuditLog(
        sequence=row["sequence"],
        user_id=row["user_id"],
        action=row["action"],
        resource_type=row["resource_type"],
        resource_id=row["resource_id"],
        details=None if row["details"] is None else json.loads(row["details"]),
        database_role=row["database_role"],
        create_time=row["created_at"],
        digest=row["digest"],
    )


async def verify_part(connection: Connection, start: ChainLink, size: int) -> VerifiedPart:
    """Compute the digests of up to `size` entries after `start` anew.

    A part of fewer entries is the last one: its head is that of the same moment. No function of the
    database is used but PostgreSQL's own: whoever changes a log could have changed those too. Nor
    is an operator, which connections see to by their `search_path`. An entry without a sequence is
    a fault at 0.
    """
    # Before the first part nothing has a place, not even with a negative number.
    after = start.sequence if start.sequence else _FIRST_BIGINT
    row = await connection.fetchrow(_VERIFY, start.sequence, start.digest, after, size)
    if row is None:
        raise LookupError("an aggregate has returned no row")
    found = [
        Fault(place, kind)
        for place, kind in (
            (row["without_place"], FaultKind.SEQUENCE),
            (row["misplaced"], FaultKind.SEQUENCE),
            (row["changed"], FaultKind.DIGEST),
        )
        if place is not None
    ]
    head = ChainLink(row["head_sequence"], row["head_digest"]) if row["head_digest"] else None
    end = ChainLink(row["last"], row["digest"]) if row["count"] else start
    fault = first_fault(*found)
    return VerifiedPart(row["count"], end, fault, head, row["short_digests"] or b"")


async def fault_of_all(connection: Connection) -> Fault | None:
    """Compute a whole log anew, as one snapshot has it; return its first fault."""
    end, part = START, None
    while part is None or part.count == _ENTRIES_AT_ONCE:
        part = await verify_part(connection, end, _ENTRIES_AT_ONCE)
        if part.fault is not None:
            return part.fault
        end = part.end
    return fault_at_end(part)


async def find_digest(connection: Connection, sequence: int) -> str | None:
    """Return the digest of an entry."""
    query = "SELECT digest FROM public.audit_logs WHERE sequence = $1"
    return await connection.fetchval(query, sequence)


async def unchained(connection: Connection) -> tuple[int, timedelta | None]:
    """Return how many committed entries are not chained, and how old the oldest is."""
    try:
        row = await connection.fetchrow(
            "SELECT count(*), clock_timestamp() - min(created_at) FROM public.audit_unchained"
        )
    except asyncpg.UndefinedTableError:
        return 0, None  # a database that is behind chains each entry at once
    return (0, None) if row is None else (row[0], row[1])


_ENTRIES_AT_ONCE = 2000
_COLUMNS = """
    sequence, user_id, action, resource_type, resource_id, details, database_role, created_at,
    digest
"""
_FIRST_BIGINT = -(1 << 63)
_VERIFY = """
-- each entry, beside what its place and its digest should be
WITH entry AS (
    SELECT log.sequence, log.digest,
           pg_catalog.lag(log.sequence, 1, $1::bigint) OVER chain + 1 AS place,
           pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
               pg_catalog.jsonb_build_array(
                   pg_catalog.lag(log.digest, 1, $2::text) OVER chain, log.sequence, log.user_id,
                   log.action, log.resource_type, log.resource_id, log.details::text,
                   log.database_role,
                   pg_catalog.to_char(
                       log.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
                   )
               )::text,
               'UTF8'
           )), 'hex') AS computed
      FROM public.audit_logs AS log
     WHERE log.sequence > $3
    WINDOW chain AS (ORDER BY log.sequence)
     ORDER BY log.sequence
     LIMIT $4
)
SELECT pg_catalog.count(*) AS count,
       pg_catalog.max(sequence) AS last,
       (pg_catalog.array_agg(digest ORDER BY sequence DESC))[1] AS digest,
       pg_catalog.min(least(sequence, place)) FILTER (WHERE sequence <> place) AS misplaced,
       pg_catalog.min(sequence) FILTER (WHERE digest IS DISTINCT FROM computed) AS changed,
       (SELECT 0 FROM public.audit_logs WHERE sequence IS NULL LIMIT 1) AS without_place,
       pg_catalog.string_agg(
           pg_catalog.decode(
               CASE WHEN digest ~ '^[0-9a-f]{64}$' THEN pg_catalog.left(digest, 16)
                    ELSE pg_catalog.repeat('0', 16) END,
               'hex'
           ),
           ''::bytea ORDER BY sequence
       ) AS short_digests,
       (SELECT sequence FROM public.audit_head) AS head_sequence,
       (SELECT digest FROM public.audit_head) AS head_digest
  FROM entry
"""
