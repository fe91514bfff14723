"""The table `usage_checks`: runs that have ended whose usage has yet to be totalled.

`run_transitions` and `journal` add a run when it ends. It is checked until no call is in flight and
the run has been over for a while: a worker that lost its run may not have heard of the end at once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from runs.store.events import run_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.generation import RunUsage

_SETTLED_AFTER = timedelta(seconds=15)


async def claim(connection: Connection, limit: int) -> tuple[str, ...]:
    """Claim runs that are due; each is due again after 1 to 60 s, twice as late each time."""
    rows = await connection.fetch(
        """
        WITH due AS (
            SELECT run_id FROM usage_checks
             WHERE due_at <= now()
             ORDER BY due_at
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        )
        UPDATE usage_checks
           SET attempts = attempts + 1,
               due_at = now() + least(interval '1 second' * 2 ^ least(attempts, 6),
                                      interval '60 seconds')
          FROM due
         WHERE usage_checks.run_id = due.run_id
        RETURNING usage_checks.run_id
        """,
        limit,
    )
    return tuple(str(row["run_id"]) for row in rows)


async def settle(connection: Connection, usages: Sequence[RunUsage]) -> None:
    """Make the totals of runs that have ended what their calls add up to, with an event each.

    Nothing changes for a run that another process has settled meanwhile.
    """
    await connection.execute(
        _SETTLE,
        json.dumps([asdict(usage) for usage in usages]),
        [UUID(usage.run_id) for usage in usages],
        _SETTLED_AFTER,
    )


async def next_due(connection: Connection) -> timedelta | None:
    """Return the time until the next run is due; None if there is none."""
    return await connection.fetchval("SELECT min(due_at) - now() FROM usage_checks")


_SETTLE = f"""
-- the rows, locked in one order: another process may settle the same runs
WITH held AS (
    SELECT run_id FROM usage_checks
     WHERE run_id = ANY($2)
     ORDER BY run_id
       FOR UPDATE
),
-- the sums of the runs that are still to be checked
given AS MATERIALIZED (
    SELECT given.*
      FROM held
      JOIN jsonb_to_recordset($1::jsonb)
           AS given (run_id uuid, input_tokens bigint, output_tokens bigint,
                     cost_micro_usd bigint, calls_open bool)
     USING (run_id)
),
-- the runs whose totals change
updated AS (
    UPDATE runs
       SET input_tokens = given.input_tokens, output_tokens = given.output_tokens,
           cost_micro_usd = given.cost_micro_usd, calls_open = given.calls_open,
           updated_at = now(), last_seq = last_seq + 1
      FROM given
     WHERE runs.id = ANY($2) AND runs.id = given.run_id
       AND (runs.input_tokens, runs.output_tokens, runs.cost_micro_usd, runs.calls_open)
           <> (given.input_tokens, given.output_tokens, given.cost_micro_usd,
               given.calls_open)
    RETURNING runs.*
),
-- the rows of the runs whose sums are final
settled AS (
    DELETE FROM usage_checks
     USING given, runs
     WHERE usage_checks.run_id = given.run_id AND runs.id = given.run_id
       AND NOT given.calls_open AND runs.ended_at < now() - $3::interval
)
{run_event("updated")}
"""
