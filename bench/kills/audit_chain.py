"""A tenant's audit log, computed anew from its columns, without the database's own functions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    from bench.kills.verdicts import Verdicts

_CHAIN_SECONDS = 10.0
_NONE_YET = "0" * 64
_ENTRIES = """
    SELECT sequence, user_id, action, resource_type, resource_id, details::text, database_role,
           to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), digest
      FROM audit_logs ORDER BY sequence
"""


async def _unchained(database: asyncpg.Connection[asyncpg.Record]) -> list[int]:
    """Return the entries that are not chained within some seconds of the last change."""
    until = time.monotonic() + _CHAIN_SECONDS
    while True:
        rows = await database.fetch("SELECT id FROM audit_unchained")
        if not rows or time.monotonic() > until:
            return [row["id"] for row in rows]
        await asyncio.sleep(0.1)  # whoever chains tells nobody


async def judge(
    verdicts: Verdicts,
    tenant_id: str,
    database: asyncpg.Connection[asyncpg.Record],
    settled: Counter[str],
) -> None:
    """Judge that the chain is whole, and that it has one entry for each settled call.

    `settled` has each settled call once, by what an entry names it.
    """
    await database.execute("SELECT audit_chain(NULL)")  # what no process has come to
    verdicts.none(f"{tenant_id}: audit entries that nobody chains", await _unchained(database))
    broken: list[str] = []
    named: Counter[str] = Counter()
    previous, expected = _NONE_YET, 0
    for row in await database.fetch(_ENTRIES):
        *columns, digest = row
        expected += 1
        text = json.dumps([previous, *columns], ensure_ascii=False)
        if columns[0] != expected or hashlib.sha256(text.encode()).hexdigest() != digest:
            broken.append(f"entry {columns[0]}, the {expected}th")
        previous = digest
        if columns[2] == "call.settle":
            named[columns[4]] += 1
    head = await database.fetchrow("SELECT sequence, digest FROM audit_head")
    if head is None or tuple(head) != (expected, previous):
        broken.append(f"the head is {head}, and the last entry {expected}")
    verdicts.note(f"{tenant_id}: audit entries, all chained anew", f"{expected:,}")
    verdicts.none(f"{tenant_id}: audit entries that break the chain", broken)
    verdicts.none(f"{tenant_id}: settled calls without an entry", [*(settled - named)])
    verdicts.none(f"{tenant_id}: entries too many of a settled call", [*(named - settled)])
