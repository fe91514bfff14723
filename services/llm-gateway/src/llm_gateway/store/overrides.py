"""The table `step_overrides`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paging
from llm_gateway.domain.models import ModelClass, StepOverride

if TYPE_CHECKING:
    import asyncpg

    from dataplane.pools import Connection

_COLUMNS = "step, provider_id, model_class, updated_at"


async def find(connection: Connection, step: str) -> ModelClass | None:
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM step_overrides WHERE step = $1", step)
    return None if row is None else _override(row).model_class


async def read(connection: Connection, step: str) -> StepOverride:
    """Return the override of a step that has one."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM step_overrides WHERE step = $1", step)
    assert row is not None  # noqa: S101 - `upsert` has locked it
    return _override(row)


async def upsert(connection: Connection, step: str, chosen: ModelClass) -> StepOverride | None:
    """Set a step's override; None if it is set already."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO step_overrides (step, provider_id, model_class)
        VALUES ($1, $2, $3)
        ON CONFLICT (step) DO UPDATE
           SET provider_id = $2, model_class = $3, updated_at = now()
         WHERE (step_overrides.provider_id, step_overrides.model_class) <> ($2, $3)
        RETURNING {_COLUMNS}
        """,
        step,
        chosen.provider_id,
        chosen.model_class,
    )
    return None if row is None else _override(row)


async def delete(connection: Connection, step: str) -> bool:
    """Delete a step's override; return whether there was one."""
    found = await connection.fetchval(
        "DELETE FROM step_overrides WHERE step = $1 RETURNING step", step
    )
    return found is not None


async def page(connection: Connection, size: int, token: str) -> paging.Page[StepOverride]:
    """Return one page of overrides, by step."""
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, str) or ""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM step_overrides WHERE step > $1 ORDER BY step LIMIT $2",
        after,
        limit + 1,
    )
    return paging.page(rows, limit, _override, "step")


def _override(row: asyncpg.Record) -> StepOverride:
    return StepOverride(
        row["step"], ModelClass(row["provider_id"], row["model_class"]), row["updated_at"]
    )
