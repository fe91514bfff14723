"""The table `prompts`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dataplane import paging
from runs.domain.prompts import PromptDraft, PromptFacts, PromptVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.prompts import PromptRequirement

_COLUMNS = "step, version, content, variables, is_active, digest, created_at"


async def insert(
    connection: Connection, draft: PromptDraft, request_id: str
) -> PromptVersion | None:
    """Insert the step's next version; None if `request_id` has been used before."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"prompts/{draft.step}")
    return await _one(
        connection,
        f"""
        INSERT INTO prompts (step, version, content, variables, is_active, digest, request_id)
        SELECT $1, coalesce(max(version), 0) + 1, $2, $3::jsonb, false, $4, $5
          FROM prompts
         WHERE step = $1
        ON CONFLICT (request_id) DO NOTHING
        RETURNING {_COLUMNS}
        """,
        draft.step,
        draft.content,
        json.dumps(draft.variables),
        draft.digest,
        request_id,
    )


async def find_by_request(connection: Connection, request_id: str) -> PromptVersion | None:
    sql = f"SELECT {_COLUMNS} FROM prompts WHERE request_id = $1"
    return await _one(connection, sql, request_id)


async def find(connection: Connection, step: str, version: int) -> PromptVersion | None:
    sql = f"SELECT {_COLUMNS} FROM prompts WHERE step = $1 AND version = $2"
    return await _one(connection, sql, step, version)


async def facts(
    connection: Connection, needs: Sequence[PromptRequirement]
) -> dict[str, PromptFacts]:
    """Return, by step, the versions that are needed; those that do not exist are left out."""
    rows = await connection.fetch(
        """
        SELECT prompts.step, prompts.version, prompts.variables
          FROM unnest($1::text[], $2::int[]) AS need (step, version)
          JOIN prompts ON prompts.step = need.step
           AND (prompts.version = need.version OR (need.version = 0 AND prompts.is_active))
        """,
        [need.step for need in needs],
        [need.version for need in needs],
    )
    return {
        row["step"]: PromptFacts(row["step"], row["version"], tuple(json.loads(row["variables"])))
        for row in rows
    }


async def page(
    connection: Connection, step: str, size: int, token: str
) -> paging.Page[PromptVersion]:
    """Return one page of a step's versions, newest first."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(("step = {}", step), ("version < {}", paging.decode(token)))
    versions = f"""
        SELECT {_COLUMNS}
          FROM prompts {where}
         ORDER BY version DESC
         LIMIT ${len(values) + 1}
        """
    rows = await connection.fetch(
        paging.within_bytes(versions, "version DESC", "octet_length(content)", paging.PAGE_BYTES),
        *values,
        limit + 1,
    )
    return paging.page_within_bytes(rows, limit, _prompt_version, "version")


async def activate(connection: Connection, step: str, version: int) -> PromptVersion | None:
    """Make one version the step's only active one; None if it is that already, or is not."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"prompts/{step}")
    found = await find(connection, step, version)
    if found is None or found.active:
        return None
    await connection.execute(
        "UPDATE prompts SET is_active = false WHERE step = $1 AND is_active", step
    )
    return await _one(
        connection,
        f"""
        UPDATE prompts SET is_active = true
         WHERE step = $1 AND version = $2
        RETURNING {_COLUMNS}
        """,
        step,
        version,
    )


async def _one(connection: Connection, sql: str, *values: object) -> PromptVersion | None:
    row = await connection.fetchrow(sql, *values)
    return None if row is None else _prompt_version(row)


def _prompt_version(row: asyncpg.Record) -> PromptVersion:
    return PromptVersion(
        step=row["step"],
        version=row["version"],
        content=row["content"],
        variables=tuple(json.loads(row["variables"])),
        active=row["is_active"],
        digest=row["digest"],
        create_time=row["created_at"],
    )
