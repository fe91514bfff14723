"""Anchors of the tenants' audit logs: entries `audit.anchor` of the management database's log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import paging
from dataplane import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from auditchain.anchors import Anchor
    from dataplane.pools import Connection

_ACTION = "audit.anchor"
# An entry is found before it is chained, too.
_FOUND = f"""
    SELECT details, (details ->> 'sequence')::bigint AS sequence
      FROM (SELECT action, resource_id, details FROM audit_logs
             UNION ALL
            SELECT action, resource_id, details FROM audit_unchained) AS entry
     WHERE action = '{_ACTION}' AND resource_id = $1 AND details ->> 'database' = $2
"""
# Two anchors may end at the same entry.
_DIGEST = """
    encode(sha256(convert_to(details ->> 'document', 'UTF8')), 'hex') COLLATE "C"
"""


@dataclass(frozen=True, slots=True)
class StoredAnchor:
    """Up to which entry an anchor goes, and its signed document."""

    sequence: int
    document: bytes


async def insert(connection: Connection, anchor: Anchor, document: bytes) -> None:
    """Append an anchor to the management database's log."""
    details = {
        "database": anchor.database,
        "sequence": anchor.sequence,
        "digest": anchor.digest,
        "document": document.decode(),
    }
    await audit.append(connection, _ACTION, "audit_log", anchor.tenant_id, details)


async def lock(connection: Connection, database: str) -> None:
    """Let one transaction at a time anchor the log of a database."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", f"audit.anchor/{database}"
    )


async def latest(connection: Connection, tenant_id: str, database: str) -> StoredAnchor | None:
    """Return the anchor that goes furthest."""
    row = await connection.fetchrow(
        f"SELECT * FROM ({_FOUND}) AS found ORDER BY sequence DESC LIMIT 1", tenant_id, database
    )
    return None if row is None else _anchor(row)


async def lowest(connection: Connection, tenant_id: str, database: str) -> list[StoredAnchor]:
    """Return the anchors whose last entry comes first: of the same one there may be two."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM ({_FOUND}) AS found
         ORDER BY sequence
         FETCH FIRST ROW WITH TIES
        """,
        tenant_id,
        database,
    )
    return [_anchor(row) for row in rows]


async def page(
    connection: Connection, tenant_id: str, database: str, size: int, token: str
) -> paging.Page[StoredAnchor]:
    """Return one page of the anchors of a database's log, the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM ({_FOUND}) AS found
         WHERE sequence >= $3 AND (sequence, {_DIGEST}) > ($3, $4)
         ORDER BY sequence, {_DIGEST}
         LIMIT $5
        """,
        tenant_id,
        database,
        *_after(token),
        (size or paging.DEFAULT_SIZE) + 1,
    )
    return page_of([_anchor(row) for row in rows], size, token)


def page_of(anchors: Sequence[StoredAnchor], size: int, token: str) -> paging.Page[StoredAnchor]:
    """Return one page of anchors that are there, sorted by their last entries."""
    limit, after = size or paging.DEFAULT_SIZE, _after(token)
    rows = sorted((anchor for anchor in anchors if _place(anchor) > after), key=_place)
    next_token = paging.encode(*_place(rows[limit - 1])) if len(rows) > limit else ""
    return paging.Page(tuple(rows[:limit]), next_token)


def _after(token: str) -> tuple[int, str]:
    return paging.decode(token, int, str) or (0, "")


def _place(anchor: StoredAnchor) -> tuple[int, str]:
    return anchor.sequence, sha256(anchor.document).hexdigest()


async def between(
    connection: Connection, tenant_id: str, database: str, start: int, end: int
) -> list[StoredAnchor]:
    """Return the anchors whose last entry stands after `start`, and not after `end`."""
    rows = await connection.fetch(
        f"SELECT * FROM ({_FOUND}) AS found WHERE sequence > $3 AND sequence <= $4",
        tenant_id,
        database,
        start,
        end,
    )
    return [_anchor(row) for row in rows]


def _anchor(row: asyncpg.Record) -> StoredAnchor:
    details = json.loads(row["details"])
    return StoredAnchor(row["sequence"], details["document"].encode())
