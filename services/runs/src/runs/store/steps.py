"""The table `steps`: reads."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from dataplane import paging
from runs.domain.activities import StepRef
from runs.domain.moves import StepAttempt
from runs.store import rows, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.activities import RunRef
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.steps import RunStep

_COLUMNS = """
    id, step, item, visit, status, retry_count, llm_model, model_rule, token_usage,
    cost_micro_usd, prompt_version, prompt_digest, output_path, output_digest, summary, metrics,
    fractional_metrics, error, started_at, completed_at
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
        SELECT {_COLUMNS} FROM steps
         WHERE run_id = $1 AND epoch <= $2 AND step = $3 AND item = $4 AND visit = $5
        """,
        *_key(ref),
    )
    return None if row is None else rows.run_step(row)


async def done(connection: Connection, run_id: str, steps: Sequence[str]) -> dict[str, RunStep]:
    """Return those of the steps that are done, by name; of mapped steps the whole step."""
    found = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM steps
         WHERE run_id = $1 AND step = ANY($2) AND item = 0 AND visit = 1
           AND status IN ('completed', 'skipped')
        """,
        UUID(run_id),
        list(steps),
    )
    return {row["step"]: rows.run_step(row) for row in found}


async def outputs(
    connection: Connection, run: RunRef, refs: Sequence[StepRef]
) -> dict[StepRef, OutputFile | None]:
    """Return the outputs of those of some steps of a run that are done; None if it was skipped."""
    found = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM unnest($2::text[], $3::int[], $4::int[]) AS asked (step, item, visit)
          JOIN steps USING (step, item, visit)
         WHERE run_id = $1 AND status IN ('completed', 'skipped')
        """,
        UUID(run.run_id),
        [ref.step for ref in refs],
        [ref.item for ref in refs],
        [ref.visit for ref in refs],
    )
    return {
        StepRef(
            run.tenant_id, run.run_id, run.epoch, row["step"], row["item"], row["visit"]
        ): rows.run_step(row).output
        for row in found
    }


async def items(connection: Connection, run_id: str, step: str) -> tuple[OutputFile, ...]:
    """Return the outputs of a mapped step's items, in their order."""
    found = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM steps
         WHERE run_id = $1 AND step = $2 AND item > 0 AND status = 'completed'
         ORDER BY item
        """,
        UUID(run_id),
        step,
    )
    steps = map(rows.run_step, found)
    return tuple(step.output for step in steps if step.output is not None)


async def find_failure(connection: Connection, run: RunRef) -> Failure | None:
    """Return the error of the run's first failed step or item."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM steps
         WHERE run_id = $1 AND epoch = $2 AND status = 'failed'
         ORDER BY completed_at, id
         LIMIT 1
        """,
        UUID(run.run_id),
        run.epoch,
    )
    return None if row is None else rows.run_step(row).error


async def page(
    connection: Connection, run_id: str, size: int, token: str
) -> paging.Page[RunStep] | None:
    """Return one page of a run's steps, in the order they began; None if there is no run."""
    limit = size or paging.DEFAULT_SIZE
    found = await connection.fetch(
        f"SELECT {_COLUMNS} FROM steps WHERE run_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        UUID(run_id),
        paging.decode(token) or 0,
        limit + 1,
    )
    if not found and await runs.find(connection, run_id) is None:
        return None
    return paging.page(found, limit, rows.run_step, "id")


def _key(ref: StepRef) -> tuple[UUID, int, str, int, int]:
    """Return the values of run_id, epoch, step, item and visit."""
    return UUID(ref.run_id), ref.epoch, ref.step, ref.item, ref.visit
