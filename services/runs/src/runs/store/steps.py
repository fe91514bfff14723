"""The table `steps`: reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

import paging
from runs.domain.activities import StepRef
from runs.domain.runs import INTERRUPTED
from runs.domain.steps import StepStatus
from runs.domain.transitions import StepAttempt
from runs.store import rows, runs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dataplane.pools import Connection
    from runs.domain.activities import RunRef
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.steps import RunStep

COLUMNS = """
    id, step, item, visit, call, status, retry_count, llm_model, model_rule, token_usage,
    cost_micro_usd, prompt_version, prompt_digest, output_path, output_digest, summary, metrics,
    fractional_metrics, values, error, started_at, completed_at, reused
"""


async def current(connection: Connection, ref: StepRef) -> StepAttempt | None:
    """Return the attempt that is being made; None if the step is done or was never begun."""
    row = await connection.fetchrow(
        """
        SELECT id, attempt FROM steps
         WHERE run_id = $1 AND epoch = $2 AND step = $3 AND item = $4 AND visit = $5
           AND status = 'running'
        """,
        *_key(ref),
    )
    return None if row is None else StepAttempt(row["id"], row["attempt"], 0, 0)


async def find(connection: Connection, ref: StepRef) -> RunStep | None:
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS} FROM steps
         WHERE run_id = $1 AND epoch <= $2 AND step = $3 AND item = $4 AND visit = $5
        """,
        *_key(ref),
    )
    return None if row is None else rows.run_step(row)


async def find_latest(connection: Connection, ref: StepRef) -> RunStep | None:
    """Return a step or an element as it is now, whichever epoch it is of."""
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS} FROM steps WHERE run_id = $1 AND step = $2 AND item = $3 AND visit = $4
        """,
        UUID(ref.run_id),
        ref.step,
        ref.item,
        ref.visit,
    )
    return None if row is None else rows.run_step(row)


async def done(
    connection: Connection, run_id: str, visits: Mapping[str, int]
) -> dict[str, RunStep]:
    """Return those of the steps that are done, by name; of mapped steps the whole step.

    `visits` has the visit of each.
    """
    found = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM unnest($2::text[], $3::int[]) AS asked (step, visit)
          JOIN steps USING (step, visit)
         WHERE run_id = $1 AND item = 0 AND status IN ('completed', 'skipped')
        """,
        UUID(run_id),
        [*visits],
        [*visits.values()],
    )
    return {row["step"]: rows.run_step(row) for row in found}


async def newest(
    connection: Connection, run_id: str, steps: Collection[str], before: int
) -> dict[str, RunStep]:
    """Return, of each of the steps that has left an output in a visit before `before`, the newest
    such one, by name; of mapped steps the whole step.
    """
    found = await connection.fetch(
        f"""
        SELECT DISTINCT ON (step) {COLUMNS} FROM steps
         WHERE run_id = $1 AND step = ANY($2) AND item = 0 AND visit < $3 AND status = 'completed'
         ORDER BY step, visit DESC
        """,
        UUID(run_id),
        [*steps],
        before,
    )
    return {row["step"]: rows.run_step(row) for row in found}


@dataclass(frozen=True, slots=True)
class EndedSteps:
    """Those of some steps that have come to an end."""

    done: dict[StepRef, OutputFile | None]
    """Their outputs; None of one that was skipped."""
    failed: dict[StepRef, Failure]
    """Those whose attempts are used up."""


async def ended(connection: Connection, run: RunRef, refs: Sequence[StepRef]) -> EndedSteps:
    """Return those of some steps of a run that have ended."""
    found = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM unnest($2::text[], $3::int[], $4::int[]) AS asked (step, item, visit)
          JOIN steps USING (step, item, visit)
         WHERE run_id = $1 AND status IN ('completed', 'skipped', 'failed')
        """,
        UUID(run.run_id),
        [ref.step for ref in refs],
        [ref.item for ref in refs],
        [ref.visit for ref in refs],
    )
    result = EndedSteps({}, {})
    for row in found:
        step = rows.run_step(row)
        ref = StepRef(run.tenant_id, run.run_id, run.epoch, step.step, step.item, step.visit)
        if step.status is StepStatus.FAILED:
            result.failed[ref] = step.error or INTERRUPTED
        else:
            result.done[ref] = step.output
    return result


@dataclass(frozen=True, slots=True)
class Elements:
    """What has become of the elements of a mapped step, by number."""

    outputs: dict[int, OutputFile]
    failed: dict[int, Failure]
    skipped: list[int]

    @property
    def count(self) -> int:
        return len(self.outputs) + len(self.failed) + len(self.skipped)

    @property
    def last(self) -> int:
        """The number of the last of them; 0 if there are none."""
        return max((*self.outputs, *self.failed, *self.skipped), default=0)


async def elements(connection: Connection, ref: StepRef) -> Elements:
    """Return what has become of the elements of a mapped step, in their order; of one visit."""
    found = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM steps
         WHERE run_id = $1 AND step = $2 AND item > 0 AND visit = $3
           AND status IN ('completed', 'skipped', 'failed')
         ORDER BY item
        """,
        UUID(ref.run_id),
        ref.step,
        ref.visit,
    )
    result = Elements({}, {}, [])
    for row in found:
        each = rows.run_step(row)
        if each.status is StepStatus.FAILED:
            result.failed[each.item] = each.error or INTERRUPTED
        elif each.output is None:
            result.skipped.append(each.item)
        else:
            result.outputs[each.item] = each.output
    return result


async def count_failed(connection: Connection, ref: StepRef) -> int:
    """Return how many elements of a mapped step have failed."""
    return await connection.fetchval(
        """
        SELECT count(*) FROM steps
         WHERE run_id = $1 AND step = $2 AND item > 0 AND visit = $3 AND status = 'failed'
        """,
        UUID(ref.run_id),
        ref.step,
        ref.visit,
    )


async def failed_elements(connection: Connection, ref: StepRef) -> dict[int, Failure]:
    """Return why elements of a mapped step have failed, by number."""
    found = await connection.fetch(
        """
        SELECT item, error FROM steps
         WHERE run_id = $1 AND step = $2 AND item > 0 AND visit = $3 AND status = 'failed'
         ORDER BY item
        """,
        UUID(ref.run_id),
        ref.step,
        ref.visit,
    )
    return {row["item"]: rows.failure(row) or INTERRUPTED for row in found}


async def list_sizes(connection: Connection, ref: StepRef) -> list[int]:
    """Return how long the lists are that a mapped step which has begun goes through."""
    found = await connection.fetchval(
        "SELECT list_sizes FROM steps WHERE run_id = $1 AND step = $2 AND item = 0 AND visit = $3",
        UUID(ref.run_id),
        ref.step,
        ref.visit,
    )
    return found or []


async def set_list_sizes(
    connection: Connection, refs: Sequence[StepRef], sizes: Sequence[int]
) -> None:
    """Note how long the lists are that mapped steps which have begun go through; of one visit."""
    await connection.execute(
        """
        UPDATE steps SET list_sizes = $4
         WHERE run_id = $1 AND epoch = $2 AND step = ANY($3) AND item = 0 AND visit = $5
           AND status = 'running'
        """,
        UUID(refs[0].run_id),
        refs[0].epoch,
        [ref.step for ref in refs],
        list(sizes),
        refs[0].visit,
    )


async def find_failure(connection: Connection, run_id: str, reported: Failure) -> Failure | None:
    """Return the error of the step that failed a run, or else element, whichever epoch it is of.

    It has the reason that the workflow reported, of several its message too, or is the first. None
    if there is none. Elements that were allowed to fail count for nothing.
    """
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS} FROM steps
         WHERE run_id = $1 AND status = 'failed' AND error ->> 'reason' = $2
           AND NOT (item > 0 AND EXISTS (
               SELECT FROM steps AS whole
                WHERE whole.run_id = steps.run_id AND whole.step = steps.step
                  AND whole.item = 0 AND whole.visit = steps.visit
                  AND whole.status = 'completed'))
         ORDER BY error ->> 'message' <> $3, item > 0, completed_at, id
         LIMIT 1
        """,
        UUID(run_id),
        reported.reason,
        reported.message,
    )
    return None if row is None else _named(rows.run_step(row).error)


async def page(
    connection: Connection, run_id: str, status: str, step: str, size: int, token: str
) -> paging.Page[RunStep] | None:
    """Return one page of a run's steps, in the order they began; None if there is no run.

    Of any status, or of all steps, when it is empty.
    """
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("run_id = {}", UUID(run_id)),
        ("status = {}", status or None),
        ("step = {}", step or None),
        ("id > {}", paging.decode(token) or 0),
    )
    found = await connection.fetch(
        f"SELECT {COLUMNS} FROM steps {where} ORDER BY id LIMIT ${len(values) + 1}",
        *values,
        limit + 1,
    )
    if not found and await runs.find(connection, run_id) is None:
        return None
    return paging.page(found, limit, rows.run_step, "id")


def _named(failure: Failure | None) -> Failure | None:
    """Return a step's failure as its run's, whose message says which element it is about."""
    if failure is None or not failure.item:
        return failure
    return replace(failure, message=f"element {failure.item}: {failure.message}")


def _key(ref: StepRef) -> tuple[UUID, int, str, int, int]:
    """Return the values of run_id, epoch, step, item and visit."""
    return UUID(ref.run_id), ref.epoch, ref.step, ref.item, ref.visit
