"""The table `pipelines`: which steps use a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.prompts import PromptUse

if TYPE_CHECKING:
    from dataplane.pools import Connection

_MOST = 100


async def find(connection: Connection, prompt: str) -> tuple[PromptUse, ...]:
    """Return steps that use the active version of a prompt, or one that has a label, in the newest
    version of their pipeline; at most 100, by pipeline and step.
    """
    rows = await connection.fetch(
        """
        SELECT pipeline, need.step, coalesce(need.asks ->> 'label', '') AS label
          FROM (SELECT DISTINCT ON (pipeline) pipeline, prompts
                  FROM pipelines
                 ORDER BY pipeline, version DESC) AS newest
         CROSS JOIN LATERAL jsonb_each(newest.prompts) AS need (step, asks)
         WHERE coalesce(need.asks ->> 'prompt', need.step) = $1
           AND (need.asks ->> 'version')::int = 0
         ORDER BY pipeline, need.step
         LIMIT $2
        """,
        prompt,
        _MOST,
    )
    return tuple(PromptUse(row["pipeline"], row["step"], row["label"]) for row in rows)
