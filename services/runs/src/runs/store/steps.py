"""The table `steps`, read: what has been done, and how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runs.store import rows
from runs.store.moves import Attempt, key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.steps import RunStep
    from runs.domain.work import RunRef, Work

_COLUMNS = """
    id, step, item, visit, status, retry_count, llm_model, model_rule, token_usage,
    cost_micro_usd, prompt_version, prompt_digest, output_path, output_digest, summary, metrics,
    fractional_metrics, error, started_at, completed_at
"""


class StepStore:
    async def current(self, connection: Connection, work: Work) -> Attempt | None:
        """Return the attempt that is being made; None if the work is done or was never begun."""
        row = await connection.fetchrow(
            """
            SELECT id, attempt FROM steps
             WHERE run_id = $1 AND epoch = $2 AND step = $3 AND item = $4 AND visit = $5
               AND status = 'running'
            """,
            *key(work),
        )
        return None if row is None else Attempt(row["id"], row["attempt"], 0, 0)

    async def find(self, connection: Connection, work: Work) -> RunStep | None:
        row = await connection.fetchrow(
            f"""
            SELECT {_COLUMNS} FROM steps
             WHERE run_id = $1 AND epoch <= $2 AND step = $3 AND item = $4 AND visit = $5
            """,
            *key(work),
        )
        return None if row is None else rows.run_step(row)

    async def done(
        self, connection: Connection, run_id: str, steps: Sequence[str]
    ) -> dict[str, RunStep]:
        """Return those of the steps that are done, as wholes, by name."""
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

    async def items(self, connection: Connection, run_id: str, step: str) -> tuple[OutputFile, ...]:
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

    async def find_failure(self, connection: Connection, run: RunRef) -> Failure | None:
        """Return why the run's first failed piece of work failed."""
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
