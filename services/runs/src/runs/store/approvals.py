"""The table `approvals`: questions of runs that people decide, each once.

A step that asks is `waiting`. Whether a question is decided or expires is one conditional statement
on its row, so that there is one end, whoever comes at the same moment.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import paging
from nagaya_functions import FilePointer
from runs.domain.approvals import Approval, ApprovalState
from runs.domain.runs import Failure
from runs.store import rows
from runs.store.events import OPEN, RUN_LOCK, lock_run, step_events
from runs.store.step_outcome import TYPES, columns

if TYPE_CHECKING:
    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.activities import StepRef
    from runs.domain.approvals import ApprovalDraft, Decision
    from runs.domain.failures import StepFailed
    from runs.domain.transitions import StepOutcome
    from servicekit.identity import Principal

_COLUMNS = """
    approvals.*, runs.pipeline, runs.user_id AS creator,
    greatest(0, ceil(extract(epoch FROM due_at - clock_timestamp()) * 1000))::bigint AS remaining_ms
"""
_FROM = "approvals JOIN runs ON runs.id = approvals.run_id"


async def ask(connection: Connection, ref: StepRef, draft: ApprovalDraft) -> Approval | None:
    """Have a step wait for a decision, and return the question, which is asked once.

    One whose time is up, and that nobody decided, expires. A workflow of a later epoch goes on
    waiting for the same question. A step that is taken up again after it has failed asks anew,
    under another id. In a transaction. Returns None if the step does not ask and may not: the run
    is closed for it, or is to stop.
    """
    key = _key(ref)
    await lock_run(connection, ref.run_id)
    await connection.execute(_WAIT, *key, ref.epoch)
    await connection.execute(
        _ASK,
        *key,
        ref.epoch,
        draft.question,
        json.dumps(
            [
                {"path": each.path, "digest": each.digest, "json_pointer": each.json_pointer}
                for each in draft.subjects
            ]
        ),
        list(draft.user_ids),
        list(draft.permissions),
        draft.excludes_creator,
        draft.comment_required,
        draft.timeout_seconds,
    )
    await connection.execute(_EXPIRE, *key)
    return await _newest(connection, ref)


async def complete(connection: Connection, ref: StepRef, outcome: StepOutcome) -> bool:
    """Record that a step which waited is done; False if the run is closed for it."""
    row = await connection.fetchrow(
        _COMPLETE, UUID(ref.run_id), ref.epoch, ref.step, ref.visit, json.dumps(columns(outcome))
    )
    return row is not None


async def fail(connection: Connection, ref: StepRef, failure: StepFailed) -> bool:
    """Record that a step which waited has failed; False if the run is closed for it."""
    error = Failure(failure.reason, failure.message, ref.step)
    row = await connection.fetchrow(
        _FAIL,
        *(UUID(ref.run_id), ref.epoch, ref.step, ref.visit),
        *(failure.message, rows.failure_json(error)),
    )
    return row is not None


async def is_to_stop(connection: Connection, ref: StepRef) -> bool:
    """Return whether a run is to stop, so that nothing of it begins."""
    return await connection.fetchval(
        f"SELECT stop IS NOT NULL FROM runs WHERE id = $1 AND epoch = $2 AND {OPEN}",
        UUID(ref.run_id),
        ref.epoch,
    )


async def decide(connection: Connection, decision: Decision, user_id: str) -> bool:
    """Decide an open approval whose time is not up; False if it is not open any more."""
    row = await connection.fetchrow(
        """
        UPDATE approvals
           SET state = $2, user_id = $3, comment = $4, request_id = $5,
               ended_at = clock_timestamp()
         WHERE approval_id = $1 AND state = 'open'
           AND (due_at IS NULL OR due_at > clock_timestamp())
        RETURNING id
        """,
        decision.approval_id,
        decision.state.value,
        user_id,
        decision.comment,
        decision.request_id,
    )
    return row is not None


async def find(connection: Connection, approval_id: str) -> Approval | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE approval_id = $1", approval_id
    )
    return None if row is None else _approval(row)


async def page(
    connection: Connection,
    filters: tuple[str, str],
    decider: Principal | None,
    size: int,
    token: str,
) -> paging.Page[Approval]:
    """Return one page of approvals, newest first.

    `filters` are the state and the run, each of any when it is empty; with a `decider` only those
    that this person may decide.
    """
    limit = size or paging.DEFAULT_SIZE
    state, run_id = filters
    where, values = paging.where(
        ("state = {}", state or None),
        ("run_id = {}", UUID(run_id) if run_id else None),
        ("approvals.id < {}", paging.decode(token)),
    )
    parameters: list[object] = [*values]
    if decider is not None:
        parameters += [decider.user_id, sorted(decider.scope)]
        mine = _MAY_DECIDE.format(user=f"${len(values) + 1}", scope=f"${len(values) + 2}")
        where = f"{where} AND {mine}" if where else f"WHERE {mine}"
    found = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM {_FROM} {where}
         ORDER BY approvals.id DESC
         LIMIT ${len(parameters) + 1}
        """,
        *parameters,
        limit + 1,
    )
    return paging.page(found, limit, _approval, "id")


async def _newest(connection: Connection, ref: StepRef) -> Approval | None:
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM {_FROM}
          JOIN steps USING (run_id, step, visit, attempt)
         WHERE run_id = $1 AND step = $2 AND visit = $3 AND item = 0 AND steps.status <> 'running'
        """,
        *_key(ref),
    )
    return None if row is None else _approval(row)


def _key(ref: StepRef) -> tuple[UUID, str, int]:
    """Return the values of run_id, step and visit."""
    return UUID(ref.run_id), ref.step, ref.visit


def _approval(row: asyncpg.Record) -> Approval:
    return Approval(
        approval_id=row["approval_id"],
        run_id=str(row["run_id"]),
        pipeline=row["pipeline"],
        step=row["step"],
        visit=row["visit"],
        state=ApprovalState(row["state"]),
        question=row["question"],
        subjects=[FilePointer(**each) for each in json.loads(row["subjects"])],
        user_ids=row["user_ids"],
        permissions=row["permissions"],
        excludes_creator=row["excludes_creator"],
        comment_required=row["comment_required"],
        create_time=row["created_at"],
        expire_time=row["due_at"],
        end_time=row["ended_at"],
        user_id=row["user_id"] or "",
        comment=row["comment"] or "",
        request_id=row["request_id"] or "",
        creator=row["creator"],
        remaining_ms=row["remaining_ms"] or 0,
    )


# A step that waits already goes on with its question, in this epoch; another one, which waits anew,
# makes a further attempt.
_WAIT = f"""
WITH run AS (
    SELECT id, epoch FROM runs
     WHERE id = $1 AND epoch = $4 AND {OPEN} AND status <> 'pending' AND stop IS NULL
       FOR NO KEY UPDATE
),
changed AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, status, started_at)
    SELECT id, $2, 0, $3, epoch, 'waiting', now() FROM run
    ON CONFLICT (run_id, step, item, visit) DO UPDATE
       SET status = 'waiting', epoch = EXCLUDED.epoch,
           attempt = steps.attempt + (steps.status <> 'waiting')::int,
           retry_count = steps.retry_count + (steps.status <> 'waiting')::int
     WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
        OR steps.status = 'waiting' AND steps.epoch < EXCLUDED.epoch
    RETURNING *
),
{step_events("changed")}
SELECT FROM changed
"""

_ASK = """
INSERT INTO approvals (approval_id, run_id, step, visit, attempt, question, subjects, user_ids,
                       permissions, excludes_creator, comment_required, due_at)
SELECT concat_ws('/', run_id, step, visit, CASE WHEN attempt > 1 THEN attempt END),
       run_id, step, visit, attempt, $5, $6::jsonb, $7, $8, $9, $10,
       CASE WHEN $11 > 0 THEN clock_timestamp() + $11 * interval '1 second' END
  FROM steps
 WHERE run_id = $1 AND step = $2 AND item = 0 AND visit = $3 AND epoch = $4 AND status = 'waiting'
ON CONFLICT (run_id, step, visit, attempt) DO NOTHING
"""

_EXPIRE = """
UPDATE approvals SET state = 'expired', ended_at = clock_timestamp()
 WHERE run_id = $1 AND step = $2 AND visit = $3 AND state = 'open' AND due_at <= clock_timestamp()
"""

_LOCKED = f"""
WITH {RUN_LOCK},
run AS (
    SELECT id FROM runs, run_lock WHERE id = $1 AND epoch = $2 AND {OPEN} FOR NO KEY UPDATE OF runs
)
"""
_WAITING = "run_id = run.id AND step = $3 AND item = 0 AND visit = $4 AND steps.status = 'waiting'"
_NAMES = ", ".join(TYPES)
_TYPED = ", ".join(f"{name} {type_}" for name, type_ in TYPES.items())

_COMPLETE = f"""
{_LOCKED},
changed AS (
    UPDATE steps
       SET completed_at = now(),
           ({_NAMES}) = (SELECT {_NAMES} FROM jsonb_to_record($5::jsonb) AS given ({_TYPED}))
      FROM run
     WHERE {_WAITING}
    RETURNING steps.*
),
{step_events("changed")}
SELECT FROM changed
"""

_FAIL = f"""
{_LOCKED},
changed AS (
    UPDATE steps
       SET status = 'failed', completed_at = now(), error_message = $5, error = $6::jsonb
      FROM run
     WHERE {_WAITING}
    RETURNING steps.*
),
{step_events("changed")}
SELECT FROM changed
"""

# As Principal.may says it of a permission.
_MAY_DECIDE = """
(
    user_ids = '{{}}' AND permissions = '{{}}'
    OR {user} = ANY(user_ids)
    OR EXISTS (
        SELECT FROM unnest(permissions) AS permission
         WHERE permission = ANY({scope}::text[]) OR '*' = ANY({scope}::text[])
            OR split_part(permission, '.', 1) || '.*' = ANY({scope}::text[])
    )
) AND NOT (excludes_creator AND runs.user_id = {user})
"""
