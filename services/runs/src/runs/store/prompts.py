"""The tables `prompts` and `prompt_labels`. The column `prompts.step` is the prompt's name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import paging
from runs.domain.prompts import PromptDraft, PromptFacts, PromptVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.prompts import PromptRequirement

_COLUMNS = """
    step, version, content, variables, is_active, digest, created_at,
    ARRAY(SELECT label FROM prompt_labels
           WHERE prompt = prompts.step AND prompt_labels.version = prompts.version
           ORDER BY label) AS labels
"""


async def insert(
    connection: Connection, draft: PromptDraft, request_id: str
) -> PromptVersion | None:
    """Insert the prompt's next version; None if `request_id` has been used before."""
    await lock(connection, draft.prompt)
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
        draft.prompt,
        draft.content,
        json.dumps(draft.variables),
        draft.digest,
        request_id,
    )


async def lock(connection: Connection, prompt: str) -> None:
    """Wait, in a transaction, until no other one creates or activates versions of a prompt."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"prompts/{prompt}")


async def find_by_request(connection: Connection, request_id: str) -> PromptVersion | None:
    sql = f"SELECT {_COLUMNS} FROM prompts WHERE request_id = $1"
    return await _one(connection, sql, request_id)


async def find(connection: Connection, prompt: str, version: int) -> PromptVersion | None:
    sql = f"SELECT {_COLUMNS} FROM prompts WHERE step = $1 AND version = $2"
    return await _one(connection, sql, prompt, version)


async def find_active(connection: Connection, prompt: str) -> PromptVersion | None:
    sql = f"SELECT {_COLUMNS} FROM prompts WHERE step = $1 AND is_active"
    return await _one(connection, sql, prompt)


async def find_labelled(connection: Connection, prompt: str, label: str) -> PromptVersion | None:
    """Return the version that a label is set to."""
    return await _one(
        connection,
        f"""
        SELECT {_COLUMNS} FROM prompts
         WHERE step = $1
           AND version = (SELECT version FROM prompt_labels WHERE prompt = $1 AND label = $2)
        """,
        prompt,
        label,
    )


async def choose(
    connection: Connection, prompt: str, version: int, label: str
) -> PromptVersion | None:
    """Return a version by its number or its label; the active one where neither is given."""
    if version:
        return await find(connection, prompt, version)
    if label:
        return await find_labelled(connection, prompt, label)
    return await find_active(connection, prompt)


async def find_content(connection: Connection, draft: PromptDraft) -> PromptVersion | None:
    """Return the newest version that has a draft's content."""
    return await _one(
        connection,
        f"""
        SELECT {_COLUMNS} FROM prompts
         WHERE step = $1 AND digest = $2
         ORDER BY version DESC
         LIMIT 1
        """,
        draft.prompt,
        draft.digest,
    )


async def facts(
    connection: Connection, needs: Sequence[PromptRequirement]
) -> dict[str, PromptFacts]:
    """Return, by step, the versions that are needed; those that do not exist are left out."""
    labelled = await _labelled(connection, [need for need in needs if need.label])
    versions = [labelled.get(need.step, -1) if need.label else need.version for need in needs]
    rows = await connection.fetch(
        """
        SELECT need.step, prompts.version, prompts.variables
          FROM unnest($1::text[], $2::text[], $3::int[]) AS need (step, prompt, version)
          JOIN prompts ON prompts.step = need.prompt
           AND (prompts.version = need.version OR (need.version = 0 AND prompts.is_active))
        """,
        [need.step for need in needs],
        [need.prompt for need in needs],
        versions,
    )
    return {
        row["step"]: PromptFacts(row["step"], row["version"], tuple(json.loads(row["variables"])))
        for row in rows
    }


async def page(
    connection: Connection, prompt: str, size: int, token: str
) -> paging.Page[PromptVersion]:
    """Return one page of versions, by prompt, newest first; of all prompts when empty."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("step = {}", prompt or None),
        ("step >= {0} AND (step > {0} OR version < {1})", paging.decode(token, str, int)),
    )
    versions = f"""
        SELECT {_COLUMNS}
          FROM prompts {where}
         ORDER BY step, version DESC
         LIMIT ${len(values) + 1}
        """
    rows = await connection.fetch(
        paging.within_bytes(
            versions, "step, version DESC", "octet_length(content)", paging.PAGE_BYTES
        ),
        *values,
        limit + 1,
    )
    return paging.page_within_bytes(rows, limit, _prompt_version, "step", "version")


async def activate(connection: Connection, prompt: str, version: int) -> PromptVersion | None:
    """Make one version the prompt's only active one; None if it is that already, or is not."""
    await lock(connection, prompt)
    found = await find(connection, prompt, version)
    if found is None or found.active:
        return None
    await connection.execute(
        "UPDATE prompts SET is_active = false WHERE step = $1 AND is_active", prompt
    )
    return await _one(
        connection,
        f"""
        UPDATE prompts SET is_active = true
         WHERE step = $1 AND version = $2
        RETURNING {_COLUMNS}
        """,
        prompt,
        version,
    )


async def set_label(connection: Connection, prompt: str, label: str, version: int) -> None:
    """Set a label to a version that exists; 0 removes it."""
    if not version:
        sql = "DELETE FROM prompt_labels WHERE prompt = $1 AND label = $2"
        await connection.execute(sql, prompt, label)
        return
    await connection.execute(
        """
        INSERT INTO prompt_labels (prompt, label, version) VALUES ($1, $2, $3)
        ON CONFLICT (prompt, label) DO UPDATE SET version = EXCLUDED.version, updated_at = now()
        """,
        prompt,
        label,
        version,
    )


async def _labelled(connection: Connection, needs: Sequence[PromptRequirement]) -> dict[str, int]:
    """Return the versions that labels are set to, by step."""
    if not needs:
        return {}
    rows = await connection.fetch(
        """
        SELECT need.step, prompt_labels.version
          FROM unnest($1::text[], $2::text[], $3::text[]) AS need (step, prompt, label)
          JOIN prompt_labels USING (prompt, label)
        """,
        [need.step for need in needs],
        [need.prompt for need in needs],
        [need.label for need in needs],
    )
    return {row["step"]: row["version"] for row in rows}


async def _one(connection: Connection, sql: str, *values: object) -> PromptVersion | None:
    row = await connection.fetchrow(sql, *values)
    return None if row is None else _prompt_version(row)


def _prompt_version(row: asyncpg.Record) -> PromptVersion:
    return PromptVersion(
        prompt=row["step"],
        version=row["version"],
        content=row["content"],
        variables=tuple(json.loads(row["variables"])),
        active=row["is_active"],
        digest=row["digest"],
        create_time=row["created_at"],
        labels=tuple(row["labels"]),
    )
