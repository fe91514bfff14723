"""What a refusal says, and what is left of a run's files afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.leftovers import nothing_left
from tests.support.audit_log import chain

from servicekit.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

RESERVED = "ERROR_REASON_PATH_RESERVED"


async def reserved(attempt: Awaitable[object], writer: str) -> None:
    """Fail the test unless the path is another's to write, and the refusal says whose."""
    with pytest.raises(Forbidden) as refused:
        await attempt
    assert refused.value.reason == RESERVED
    assert refused.value.metadata["writer"] == writer
    assert f"only the workload {writer} writes storage/acme/" in refused.value.message


async def traces(database: asyncpg.Connection, client: ArtifactsClient) -> dict[str, int]:
    """Count what there is of a run, in the database and in the bucket."""
    await nothing_left(database, client)
    folder = f"storage/acme/{client.run_id}"
    of_run = ("uploads", "artifact_writes", "artifacts")
    counts: dict[str, int] = {
        table: await database.fetchval(
            f"SELECT count(*) FROM {table} WHERE run_id = $1::uuid", client.run_id
        )
        for table in of_run
    }
    counts["audit_logs"] = len(await authors(database, client))
    counts["objects"] = sum(file.is_file() for file in client.on_disk(folder).rglob("*"))
    return {what: count for what, count in counts.items() if count}


async def authors(database: asyncpg.Connection, client: ArtifactsClient) -> dict[str, str]:
    """Return who made which file of a run, by what the audit log says."""
    await chain(database)
    rows = await database.fetch(
        "SELECT resource_id, user_id FROM audit_logs"
        " WHERE resource_type = 'artifact' AND resource_id LIKE $1",
        f"storage/acme/{client.run_id}/%",
    )
    return {row["resource_id"]: row["user_id"] for row in rows}
