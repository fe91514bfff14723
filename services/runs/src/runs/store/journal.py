"""The transitions of a run and its steps, in one statement: `runs`, `steps`, attempts and events.

Each is conditional on the run's epoch and status and on the attempt, so an attempt that was given
up and wakes late, or a workflow of an earlier epoch, changes nothing. The statement locks the run
first, so that a run that gets its final status at this very moment gets nothing afterwards.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus, RunStop
from runs.domain.transitions import Advanced, StepAttempt
from runs.store.events import OPEN, QUEUED, RUN_LOCK, run_payload
from runs.store.run_transitions import CALLS_MODELS, CHECKED_ONCE, CHECKED_SOON
from runs.store.step_outcome import TYPES, columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.runs import OutputFile
    from runs.domain.transitions import Transitions


async def advance(
    connection: Connection, run: RunRef, batch: Sequence[Transitions]
) -> tuple[Advanced, ...]:
    """Record transitions of one run in one statement; return for each what took effect.

    No step, item and visit occurs twice in all of them. One that completes the run is alone.
    """
    ended = [end for each in batch for end in each.ended]
    found = await connection.fetch(
        _ADVANCE,
        UUID(run.run_id),
        run.epoch,
        next((_input(each.input) for each in batch if each.input is not None), None),
        # Looked up by the row's id: a join with a list may become a loop over all for each row.
        json.dumps(
            {
                attempt.row_id: {"attempt": attempt.attempt, **columns(outcome)}
                for _, attempt, outcome in ended
            }
        ),
        [attempt.row_id for _, attempt, _ in ended],
        json.dumps(
            [{**_names(ref), **columns(outcome)} for each in batch for ref, outcome in each.whole]
        ),
        json.dumps([_names(ref) for each in batch for ref in each.begun]),
        any(each.completes_run for each in batch),
        CHECKED_ONCE,
        CHECKED_SOON,
    )
    status = found[0]["run_status"] if found else await _status(connection, run)
    stop = found[0]["stop"] if found else None
    return _advanced(
        batch,
        None if status is None else RunStatus(status),
        None if stop is None else RunStop(stop),
        found,
    )


async def _status(connection: Connection, run: RunRef) -> str | None:
    return await connection.fetchval(
        "SELECT status FROM runs WHERE id = $1 AND epoch = $2", UUID(run.run_id), run.epoch
    )


def _advanced(
    batch: Sequence[Transitions],
    status: RunStatus | None,
    stop: RunStop | None,
    found: Sequence[asyncpg.Record],
) -> tuple[Advanced, ...]:
    done = {
        (row["step"], row["item"], row["visit"]): StepAttempt(
            row["id"], row["attempt"], row["failed_before"], row["lost_before"], row["call"]
        )
        for row in found
        if row["id"] is not None
    }
    took = found[0]["took"] if found else None
    return tuple(
        Advanced(
            status,
            tuple(_key(ref) in done for ref, _, _ in each.ended),
            tuple(_key(ref) in done for ref, _ in each.whole),
            tuple(done.get(_key(ref)) for ref in each.begun),
            stop,
            None if took is None else (found[0]["pipeline"], took),
            others_wait=bool(found) and found[0]["others_wait"],
        )
        for each in batch
    )


def _key(ref: StepRef) -> tuple[str, int, int]:
    return ref.step, ref.item, ref.visit


def _names(ref: StepRef) -> dict[str, object]:
    return {"step": ref.step, "item": ref.item, "visit": ref.visit}


def _input(file: OutputFile) -> str:
    """Return the columns of `runs` that an input fills, as JSON."""
    return json.dumps(
        {
            "input_path": file.output_path,
            "input_digest": file.output_digest,
            "input_summary": file.summary,
            "input_metrics": dict(file.metrics),
        }
    )


_NAMES = ", ".join(TYPES)
_COLUMNS = ", ".join(f"{name} {type_}" for name, type_ in TYPES.items())
_SET_EXCLUDED = ", ".join(f"{name} = EXCLUDED.{name}" for name in TYPES)
_BEGUN_PAYLOAD = run_payload(
    """
    to_jsonb(run) || input || jsonb_build_object(
        'status', 'running', 'last_seq', last_seq + 1, 'started_at', now(), 'updated_at', now(),
        'stuck_reason', NULL, 'queued', false)
    """
)

# Rows that this statement has locked are the newest there are; everything else that it reads is as
# it was when the statement began, before it waited for the run.
_ADVANCE = f"""
WITH {RUN_LOCK},
-- the run, unless it has a final status
run AS (
    SELECT runs.* FROM runs, run_lock WHERE id = $1 AND {OPEN} FOR NO KEY UPDATE OF runs
),
-- the run, if steps may be done: it runs in this epoch, or begins to
running AS (
    SELECT id, epoch, stop FROM run
     WHERE epoch = $2 AND status <> 'paused' AND (status <> 'pending' OR $3::jsonb IS NOT NULL)
),
-- the rows whose attempt is still the one that ends
ended AS (
    UPDATE steps
       SET completed_at = now(), error = NULL, error_message = NULL,
           ({_NAMES}) = (
               SELECT {_NAMES}
                 FROM jsonb_to_record($4::jsonb -> steps.id::text) AS given ({_COLUMNS})
           )
      FROM run
     WHERE steps.id = ANY($5::bigint[]) AND steps.run_id = run.id AND steps.status = 'running'
       AND steps.attempt = ($4::jsonb -> steps.id::text ->> 'attempt')::int
    RETURNING steps.*
),
-- new rows, and those that a failed attempt has left running
whole AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, started_at, completed_at, {_NAMES})
    SELECT running.id, step, item, visit, epoch, now(), now(), {_NAMES}
      FROM running,
           ROWS FROM (
               jsonb_to_recordset($6::jsonb) AS (step text, item int, visit int, {_COLUMNS})
           ) WITH ORDINALITY AS given (step, item, visit, {_NAMES}, place)
     ORDER BY place
    ON CONFLICT (run_id, step, item, visit) DO UPDATE
       SET completed_at = now(), error = NULL, error_message = NULL, epoch = EXCLUDED.epoch,
           attempt = steps.attempt + 1, retry_count = steps.retry_count + 1, {_SET_EXCLUDED}
     WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
    RETURNING *
),
-- new rows, and those whose attempt is replaced by this one, unless the run is to stop
begun AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, status, started_at)
    SELECT running.id, step, item, visit, epoch, 'running', now()
      FROM running,
           ROWS FROM (
               jsonb_to_recordset($7::jsonb) AS (step text, item int, visit int)
           ) WITH ORDINALITY AS given (step, item, visit, place)
     WHERE stop IS NULL
     ORDER BY place
    ON CONFLICT (run_id, step, item, visit) DO UPDATE
       SET status = 'running', epoch = EXCLUDED.epoch,
           attempt = steps.attempt + 1, retry_count = steps.retry_count + 1
     WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
    RETURNING *
),
-- all of them; of one kind, rows have the order of their ids
changed AS (
    SELECT 1 AS kind, * FROM ended
    UNION ALL SELECT 2, * FROM whole
    UNION ALL SELECT 3, * FROM begun
),
ended_attempt AS ( -- attempts that have completed
    UPDATE step_attempts
       SET status = ended.status, completed_at = now()
      FROM ended
     WHERE step_id = ended.id AND step_attempts.attempt = ended.attempt
),
-- attempts before new ones that ended without a result
lost AS (
    UPDATE step_attempts
       SET status = 'failed', reason = 'LOST', completed_at = now()
      FROM changed
     WHERE kind > 1 AND changed.attempt > 1
       AND step_id = changed.id AND step_attempts.status = 'running'
    RETURNING step_id
),
new_attempt AS ( -- those that begin, or begin and complete at once
    INSERT INTO step_attempts (step_id, epoch, attempt, status, completed_at)
    SELECT id, epoch, attempt, status, completed_at FROM changed WHERE kind > 1
),
-- what the changed steps add to the run
sums AS (
    SELECT count(*) AS events,
           coalesce(sum((token_usage ->> 'input_tokens')::bigint), 0)::bigint AS input_tokens,
           coalesce(sum((token_usage ->> 'output_tokens')::bigint), 0)::bigint AS output_tokens,
           coalesce(sum(cost_micro_usd), 0)::bigint AS cost_micro_usd,
           count(*) FILTER (WHERE kind < 3) AS completed_steps,
           (array_agg(step ORDER BY kind DESC, id DESC) FILTER (WHERE kind > 1))[1] AS last_step
      FROM changed
),
-- whether the run begins, with which input, and whether it ends
moved AS (
    SELECT run.status = 'pending' AND run.epoch = $2 AND $3::jsonb IS NOT NULL AS begins,
           CASE WHEN run.status = 'pending' AND run.epoch = $2 THEN $3::jsonb END AS input,
           $8 AND run.epoch = $2 AND run.status <> 'paused' AND sums.completed_steps
               = cardinality($5::bigint[]) + jsonb_array_length($6::jsonb) AS ends
      FROM run, sums
),
updated AS ( -- the run, with what its steps add
    UPDATE runs
       SET status = CASE WHEN ends THEN 'completed' WHEN begins THEN 'running' ELSE status END,
           started_at = CASE WHEN begins THEN now() ELSE started_at END,
           ended_at = CASE WHEN ends THEN now() END, stop = CASE WHEN ends THEN NULL ELSE stop END,
           held = held AND NOT ends, updated_at = now(), stuck_reason = NULL, in_question = false,
           -- an earlier build may have started a run that waits for its turn
           queued = queued AND NOT (begins OR ends),
           checked_at = CASE WHEN begins THEN nullif(checked_at, 'infinity') ELSE checked_at END,
           last_seq = last_seq + begins::int + events + ends::int,
           current_step = coalesce(last_step, current_step),
           input_path = coalesce(input ->> 'input_path', input_path),
           input_digest = coalesce(input ->> 'input_digest', input_digest),
           input_summary = coalesce(input ->> 'input_summary', input_summary),
           input_metrics = coalesce(input -> 'input_metrics', input_metrics),
           input_tokens = runs.input_tokens + sums.input_tokens,
           output_tokens = runs.output_tokens + sums.output_tokens,
           cost_micro_usd = runs.cost_micro_usd + sums.cost_micro_usd,
           completed_steps = runs.completed_steps + sums.completed_steps
      FROM moved, sums
     WHERE runs.id = $1 AND (begins OR ends OR events > 0)
    RETURNING runs.*
),
-- once its workflow runs it need not be started, once it has ended it need not be told anything
delivered AS (
    DELETE FROM outbox USING moved
     WHERE run_id = $1 AND (ends OR begins AND kind = 'start')
),
-- whether its calls have cost more by then; those of an earlier epoch may have already
usage_check AS (
    INSERT INTO usage_checks (run_id, due_at)
    SELECT id, now() + CASE WHEN epoch = 1 THEN $9::interval ELSE $10::interval END
      FROM updated, moved
     WHERE ends AND {CALLS_MODELS}
),
event AS ( -- in this order: the run begins, its steps change, it ends
    INSERT INTO run_events (run_id, seq, kind, payload, created_at)
    SELECT id, last_seq + 1, 'run', {_BEGUN_PAYLOAD}, clock_timestamp()
      FROM run, moved WHERE begins
    UNION ALL
    SELECT run.id, last_seq + begins::int + row_number() OVER (ORDER BY changed.kind, changed.id),
           'step', jsonb_strip_nulls(to_jsonb(changed) - '{{kind,list_sizes}}'::text[]),
           clock_timestamp()
      FROM run, moved, changed
    UNION ALL
    SELECT id, last_seq, 'run', {run_payload("to_jsonb(updated)")}, clock_timestamp()
      FROM updated, moved WHERE ends
)
SELECT CASE WHEN run.epoch = $2 THEN coalesce(updated.status, run.status) END AS run_status,
       run.stop, changed.id, changed.step, changed.item, changed.visit, changed.attempt,
       changed.call, updated.pipeline, updated.ended_at - updated.started_at AS took,
       updated.ended_at IS NOT NULL AND EXISTS (SELECT FROM runs WHERE {QUEUED}) AS others_wait,
       past.failed AS failed_before, past.lost + coalesce(lately.lost, 0) AS lost_before
  FROM run
  LEFT JOIN updated ON true LEFT JOIN changed ON true
  LEFT JOIN (SELECT step_id, count(*) AS lost FROM lost GROUP BY step_id) AS lately
    ON lately.step_id = changed.id
  LEFT JOIN LATERAL (
       SELECT count(*) FILTER (WHERE reason <> 'LOST') AS failed,
              count(*) FILTER (WHERE reason = 'LOST') AS lost
         FROM step_attempts
        WHERE changed.kind = 3 AND changed.attempt > 1
          AND step_id = changed.id AND status = 'failed' AND epoch = $2
       ) AS past
    ON true
"""
