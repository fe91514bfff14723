"""The table `runs`: pauses, and runs that go on. Each change leaves an event.

A run that is under way is told by its column `stop` what it is to stop for, and begins nothing from
then on. Once its workflow has ended, `pause_or_go_on` records what came of it. Whatever goes on has
the next epoch: nothing that is left of the workflow before changes it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus, RunStop
from runs.store import rows
from runs.store.events import lock_run, run_event
from runs.store.queued_runs import WAITS, checked_at, turn
from runs.store.runs import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.runs import Retry, Run


@dataclass(frozen=True, slots=True)
class RunStopState:
    """What a run under way is told, and whether it still is."""

    epoch: int
    status: RunStatus
    stop: RunStop | None


async def ask_to_stop(connection: Connection, run_id: str, stop: RunStop) -> Run | None:
    """Note what a running run is to stop for; None if it does not run."""
    row = await connection.fetchrow(
        f"""
        WITH updated AS (
            UPDATE runs SET stop = $2, updated_at = now(), last_seq = last_seq + 1
             WHERE id = $1 AND status = 'running'
            RETURNING *
        ),
        event AS ({run_event("updated")})
        SELECT {COLUMNS} FROM updated
        """,
        UUID(run_id),
        stop.value,
    )
    return None if row is None else rows.run(row)


async def pause_pending(connection: Connection, run_id: str) -> Run | None:
    """Pause a run that has not begun; None if it has, or is held."""
    row = await connection.fetchrow(
        f"""
        WITH updated AS (
            UPDATE runs
               SET status = 'paused', queued = false, checked_at = NULL, epoch = epoch + 1,
                   updated_at = now(), stuck_reason = NULL, last_seq = last_seq + 1
             WHERE id = $1 AND status = 'pending' AND NOT held
            RETURNING *
        ),
        delivered AS (
            DELETE FROM outbox USING updated WHERE outbox.run_id = updated.id
        ),
        event AS ({run_event("updated")})
        SELECT {COLUMNS} FROM updated
        """,
        UUID(run_id),
    )
    return None if row is None else rows.run(row)


async def resume(connection: Connection, run_id: str, task_queue: str, most: int) -> Run | None:
    """Have a paused run go on in its next epoch; None if it is not paused.

    It waits for its turn where `most` of the tenant's runs are under way on `task_queue`, which is
    its pipeline's.
    """
    row = await connection.fetchrow(
        f"""
        WITH {turn("$2", "$3")},
        updated AS (
            UPDATE runs
               SET status = CASE WHEN started_at IS NULL THEN 'pending' ELSE 'running' END,
                   task_queue = $2, queued = {WAITS}, checked_at = {checked_at(WAITS)},
                   in_question = false, epoch = epoch + 1, updated_at = now(),
                   last_seq = last_seq + 1
             WHERE id = $1 AND status = 'paused'
            RETURNING *
        ),
        start AS (
            INSERT INTO outbox (run_id, kind, due_at)
            SELECT id, 'start', now() + interval '5 seconds' FROM updated WHERE NOT queued
            ON CONFLICT (run_id, kind) DO NOTHING
        ),
        event AS ({run_event("updated")})
        SELECT {COLUMNS} FROM updated
        """,
        UUID(run_id),
        task_queue,
        most,
    )
    return None if row is None else rows.run(row)


async def pause_or_go_on(connection: Connection, run_id: str, epoch: int) -> Run | None:
    """Record that the workflow of a run that was told to pause has ended, as it was told to.

    The run is paused then; if the pause has been withdrawn it goes on in its next epoch. A run that
    is paused already stays so: whoever recorded that may have died before telling. In a
    transaction. Returns None if the run has another epoch, or was not told to pause.
    """
    await lock_run(connection, run_id)
    row = await connection.fetchrow(
        f"""
        WITH updated AS (
            UPDATE runs
               SET status = CASE stop WHEN 'pause' THEN 'paused' ELSE status END,
                   epoch = epoch + (stop = 'resume')::int, stop = NULL, queued = false,
                   checked_at = NULL, updated_at = now(), stuck_reason = NULL,
                   last_seq = last_seq + 1
             WHERE id = $1 AND epoch = $2 AND status = 'running' AND stop IN ('pause', 'resume')
            RETURNING *
        ),
        delivered AS (
            DELETE FROM outbox USING updated
             WHERE outbox.run_id = updated.id AND (kind <> 'start' OR status = 'paused')
        ),
        start AS (
            INSERT INTO outbox (run_id, kind)
            SELECT id, 'start' FROM updated WHERE status = 'running'
            ON CONFLICT (run_id, kind) DO NOTHING
        ),
        event AS ({run_event("updated")})
        SELECT {COLUMNS} FROM updated
        """,
        UUID(run_id),
        epoch,
    )
    if row is None:
        paused = f"SELECT {COLUMNS} FROM runs WHERE id = $1 AND epoch = $2 AND status = 'paused'"
        row = await connection.fetchrow(paused, UUID(run_id), epoch)
    return None if row is None else rows.run(row)


async def last_retry(connection: Connection, run_id: str) -> str:
    """Return the request id of a run's last retry; empty if there was none."""
    sql = "SELECT retry_request_id FROM runs WHERE id = $1"
    return await connection.fetchval(sql, UUID(run_id)) or ""


async def retry(
    connection: Connection, run_id: str, asked: Retry, task_queue: str, most: int
) -> Run | None:
    """Have a run that failed or was cancelled go on in its next epoch.

    What the retry is for waits for its next attempt again, and so does what the run's end
    interrupted. The totals are those of the steps that are done. The run waits for its turn where
    `most` of the tenant's are under way on `task_queue`, which is its pipeline's. In a transaction
    that has locked it. Returns None if nothing failed that it is for.
    """
    if asked.step and not await _failed(connection, run_id, asked):
        return None
    row = await connection.fetchrow(
        _RETRY, UUID(run_id), asked.request_id, asked.step or None, asked.item, task_queue, most
    )
    if row is None:
        return None
    await connection.execute(
        _TAKE_UP, UUID(run_id), asked.step or None, asked.item, asked.new_calls
    )
    found = await connection.fetchrow(f"SELECT {COLUMNS} FROM runs WHERE id = $1", UUID(run_id))
    return None if found is None else rows.run(found)


async def find_stops(connection: Connection, run_ids: Sequence[str]) -> dict[str, RunStopState]:
    """Return what some runs are told, by run."""
    found = await connection.fetch(
        "SELECT id, epoch, status, stop FROM runs WHERE id = ANY($1)", [*map(UUID, run_ids)]
    )
    return {
        str(row["id"]): RunStopState(
            row["epoch"],
            RunStatus(row["status"]),
            None if row["stop"] is None else RunStop(row["stop"]),
        )
        for row in found
    }


async def _failed(connection: Connection, run_id: str, asked: Retry) -> bool:
    return await connection.fetchval(
        f"""
        SELECT EXISTS (
            SELECT FROM steps
             WHERE run_id = $1 AND step = $2 AND (item = $3 OR $3 = 0)
               AND status IN ('failed', 'cancelled') AND NOT {_OF_COMPLETED_MAP}
        )
        """,
        UUID(run_id),
        asked.step,
        asked.item,
    )


# Failed elements that a map has got over.
_OF_COMPLETED_MAP = """(
    item > 0 AND EXISTS (
        SELECT FROM steps AS whole
         WHERE whole.run_id = steps.run_id AND whole.step = steps.step
           AND whole.visit = steps.visit AND whole.item = 0 AND whole.status = 'completed'
    )
)"""

_RETRY = f"""
WITH {turn("$5", "$6")},
-- what is done, whose costs are known
sums AS (
    SELECT coalesce(sum((token_usage ->> 'input_tokens')::bigint), 0)::bigint AS input_tokens,
           coalesce(sum((token_usage ->> 'output_tokens')::bigint), 0)::bigint AS output_tokens,
           coalesce(sum(cost_micro_usd), 0)::bigint AS cost_micro_usd
      FROM steps
     WHERE run_id = $1 AND status IN ('completed', 'skipped')
),
-- the run, in its next epoch
updated AS (
    UPDATE runs
       SET status = CASE WHEN started_at IS NULL THEN 'pending' ELSE 'running' END,
           task_queue = $5, queued = {WAITS}, checked_at = {checked_at(WAITS)},
           in_question = false, epoch = epoch + 1, error = NULL, ended_at = NULL,
           calls_open = false,
           retry_request_id = $2, retry_step = $3, retry_item = $4,
           input_tokens = sums.input_tokens, output_tokens = sums.output_tokens,
           cost_micro_usd = sums.cost_micro_usd, updated_at = now(), last_seq = last_seq + 1
      FROM sums
     WHERE id = $1 AND status IN ('failed', 'cancelled')
    RETURNING runs.*
),
-- its next workflow is to be started, unless it waits for its turn
start AS (
    INSERT INTO outbox (run_id, kind, due_at)
    SELECT id, 'start', now() + interval '5 seconds' FROM updated WHERE NOT queued
    ON CONFLICT (run_id, kind) DO NOTHING
),
-- its totals are not final any more
usage_check AS (
    DELETE FROM usage_checks USING updated WHERE usage_checks.run_id = updated.id
),
-- what watches and webhooks are sent
event AS ({run_event("updated")})
SELECT {COLUMNS} FROM updated
"""

_TAKE_UP = f"""
-- what failed, if the retry is for it, and what the run's end interrupted
WITH changed AS (
    UPDATE steps
       SET status = 'running', completed_at = NULL, error = NULL, error_message = NULL,
           call = call + ($4 AND status = 'failed' AND error IS NOT NULL)::int,
           token_usage = NULL, cost_micro_usd = 0
     WHERE run_id = $1 AND status IN ('failed', 'cancelled') AND NOT {_OF_COMPLETED_MAP}
       AND (error IS NULL OR status = 'cancelled' OR $2::text IS NULL
            OR step = $2 AND (item = $3 OR $3 = 0)
            -- mapped steps as a whole, which have failed since elements have
            OR item = 0 AND EXISTS (
                SELECT FROM steps AS element
                 WHERE element.run_id = $1 AND element.step = steps.step AND element.item > 0
            ))
    RETURNING steps.*
),
-- the numbers of their events
numbered AS (
    UPDATE runs SET last_seq = last_seq + (SELECT count(*) FROM changed)
     WHERE id = $1 AND EXISTS (SELECT FROM changed)
    RETURNING last_seq
)
INSERT INTO run_events (run_id, seq, kind, payload, created_at)
SELECT run_id,
       numbered.last_seq - count(*) OVER () + row_number() OVER (ORDER BY changed.id),
       'step', jsonb_strip_nulls(to_jsonb(changed) - 'list_sizes'), clock_timestamp()
  FROM changed, numbered
"""
