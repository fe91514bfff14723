"""The table `runs`: new rows, and what is read of them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import paging
from runs.domain.run_filters import RunFilter
from runs.domain.schedules import TRIGGERED
from runs.store import rows
from runs.store.events import lock_run, run_event
from runs.store.queued_runs import WAITS, checked_at, turn
from runs.store.run_filters import planned_for_values, selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from runs.domain.pipelines import PipelineSummary
    from runs.domain.runs import Run, RunDraft, RunParameters

COLUMNS = """
    id, pipeline, pipeline_version, status, stop, held, queued, current_step,
    config -> 'settings' AS settings, config ->> 'settings_json' AS settings_json,
    input_path, input_digest, input_summary, input_metrics, input_tokens, output_tokens,
    cost_micro_usd, completed_steps, calls_open, error, stuck_reason, last_seq, user_id, created_at,
    started_at, ended_at, schedule, schedule_time, labels, forked_from_run_id
"""


async def insert(
    connection: Connection,
    draft: RunDraft,
    facts: PipelineSummary,
    prompt_versions: Mapping[str, int],
    user_id: str,
    most: int,
) -> tuple[Run, int] | None:
    """Record a pending run, its first event, an audit entry, and that it is to be started.

    A held one is not started, and one waits for its turn where the tenant has `most` under way on
    its task queue, as many as it may. Returns the run and how many others are under way there, at
    most as many; None if the request's id has been used before.
    """
    row = await connection.fetchrow(
        _INSERT,
        json.dumps(draft.config, ensure_ascii=False),
        facts.pipeline,
        facts.version,
        draft.held,
        user_id,
        draft.request_id,
        draft.digest,
        json.dumps(dict(prompt_versions)),
        draft.schedule or None,
        draft.schedule_time,
        json.dumps(dict(draft.labels)),
        None if draft.fork is None else UUID(draft.fork.run_id),
        facts.code_needs.task_queue,
        most,
    )
    return None if row is None else (rows.run(row), row["under_way"])


async def find_by_request(connection: Connection, request_id: str) -> tuple[Run, str] | None:
    """Return the run that a request created, and the request's digest."""
    sql = f"SELECT {COLUMNS}, request_digest FROM runs WHERE request_id = $1"
    row = await connection.fetchrow(sql, request_id)
    return None if row is None else (rows.run(row), row["request_digest"])


async def find(connection: Connection, run_id: str) -> Run | None:
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM runs WHERE id = $1", UUID(run_id))
    return None if row is None else rows.run(row)


async def lock(connection: Connection, run_id: str) -> tuple[Run, int] | None:
    """Return a run and its epoch; nothing changes it until the transaction ends."""
    await lock_run(connection, run_id)
    row = await connection.fetchrow(
        f"SELECT {COLUMNS}, epoch FROM runs WHERE id = $1 FOR NO KEY UPDATE", UUID(run_id)
    )
    return None if row is None else (rows.run(row), row["epoch"])


async def find_task_queue(connection: Connection, run_id: str) -> str:
    """Return the own task queue of a run's pipeline; empty for the common one."""
    return await connection.fetchval(
        """
        SELECT coalesce(code_needs ->> 'task_queue', '')
          FROM pipelines JOIN runs
            ON pipelines.pipeline = runs.pipeline AND version = pipeline_version
         WHERE runs.id = $1
        """,
        UUID(run_id),
    )


async def find_plan(connection: Connection, run_id: str) -> tuple[list[Any], str]:
    """Return the plan of a run that there is, and its pipeline's own task queue, or nothing."""
    row = await connection.fetchrow(
        """
        SELECT plan, coalesce(code_needs ->> 'task_queue', '') AS task_queue
          FROM pipelines JOIN runs
            ON pipelines.pipeline = runs.pipeline AND version = pipeline_version
         WHERE runs.id = $1
        """,
        UUID(run_id),
    )
    if row is None:
        raise LookupError(f"there is no run {run_id}")
    return json.loads(row["plan"]), row["task_queue"]


async def find_parameters(connection: Connection, run_id: str) -> RunParameters | None:
    """Return what the run's steps need; None if there is no run."""
    row = await connection.fetchrow(
        """
        SELECT id, status, epoch, pipeline, pipeline_version, user_id, config, prompt_versions,
               input_path, input_digest, input_summary, input_metrics
          FROM runs
         WHERE id = $1
        """,
        UUID(run_id),
    )
    return None if row is None else rows.run_parameters(row)


async def page(
    connection: Connection, wanted: RunFilter, size: int, token: str
) -> paging.Page[Run]:
    """Return one page of the runs that a filter names, newest first."""
    limit = size or paging.DEFAULT_SIZE
    chosen = selection(wanted)
    where, values = chosen.where(
        (
            f"({chosen.moment}, {chosen.key}) < ({{}}, {{}})",
            paging.decode(token, datetime, UUID),
        )
    )
    runs = f"""
        SELECT {COLUMNS}
          FROM {chosen.source} {where}
         ORDER BY {chosen.moment} DESC, {chosen.key} DESC
         LIMIT ${len(values) + 1}
        """
    settings = "octet_length(coalesce(settings_json, settings::text, ''))"
    sql = paging.within_bytes(runs, "created_at DESC, id DESC", settings, paging.JSON_PAGE_BYTES)
    async with planned_for_values(connection) if wanted != RunFilter() else nullcontext():
        found = await connection.fetch(sql, *values, limit + 1)
    return paging.page_within_bytes(found, limit, rows.run, "created_at", "id")


_INSERT = f"""
WITH {turn("$13", "$14")},
-- the run, unless the request's id has been used
updated AS (
    INSERT INTO runs (status, config, pipeline, pipeline_version, held, user_id,
                      request_id, request_digest, prompt_versions, schedule, schedule_time,
                      labels, forked_from_run_id, task_queue, queued, checked_at, last_seq)
    VALUES ('pending', $1::jsonb, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11::jsonb, $12, $13,
            NOT $4 AND {WAITS}, {checked_at(f"NOT $4 AND {WAITS}")}, 1)
    ON CONFLICT (request_id) DO NOTHING
    RETURNING *
),
-- its workflow is to be started, unless it is held or waits for its turn
start AS (
    INSERT INTO outbox (run_id, kind, due_at)
    SELECT id, 'start', now() + interval '5 seconds' FROM updated WHERE NOT held AND NOT queued
),
-- its events are to be sent to these endpoints, but not to one that is being deleted
webhooks AS (
    INSERT INTO webhook_deliveries (endpoint_id, run_id)
    SELECT endpoint_id, id
      FROM updated, webhook_endpoints
     WHERE state = 'enabled' AND (pipelines = '{{}}' OR pipeline = ANY(pipelines))
       FOR KEY SHARE OF webhook_endpoints SKIP LOCKED
),
-- what it is found by
labelled AS (
    INSERT INTO run_labels (name, value, run_created_at, run_id)
    SELECT key, value, created_at, id FROM updated, jsonb_each_text(labels)
),
-- what watches and webhooks are sent
event AS ({run_event("updated")})
SELECT {COLUMNS}, (SELECT under_way FROM turn) AS under_way,
       audit_append(
           user_id, CASE WHEN forked_from_run_id IS NULL THEN 'run.create' ELSE 'run.fork' END,
           'run', id::text,
           jsonb_strip_nulls(jsonb_build_object(
               'pipeline', pipeline, 'version', pipeline_version,
               'forked_from_run_id', forked_from_run_id))),
       CASE WHEN schedule IS NOT NULL AND request_id LIKE '{TRIGGERED}%'
            THEN audit_append(user_id, 'schedule.trigger', 'schedule', schedule, '{{}}') END
  FROM updated
"""
