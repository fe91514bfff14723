"""What writers that died leave behind, made for the collector to find."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support.artifacts_client import digest_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

    from artifacts.object_store.client import ObjectStore


async def orphan(
    object_store: ObjectStore, client: ArtifactsClient, name: str = "output.json"
) -> str:
    """Put an object where no row leads; return its path."""
    path = client.path(name)
    await object_store.put(path.removeprefix("storage/"), b"orphan")
    return path


async def nothing_left(database: asyncpg.Connection, client: ArtifactsClient) -> None:
    """Return when no small file of a run has its bytes in the database any more."""
    await wait_until(
        lambda: database.fetchval(
            "SELECT NOT EXISTS (SELECT FROM artifact_bodies WHERE file_path LIKE $1)",
            f"storage/{client.tenant_id}/{client.run_id}/%",
        )
    )


def make_old(client: ArtifactsClient, path: str) -> None:
    long_ago = time.time() - 7200
    os.utime(client.on_disk(path), (long_ago, long_ago))


async def unfinished_write(
    database: asyncpg.Connection,
    client: ArtifactsClient,
    path: str,
    *,
    age: str,
    settled: bool = False,
) -> None:
    await database.execute(
        f"""
        INSERT INTO artifact_writes (
            file_path, run_id, digest, writer, renewed_at, in_flight, doubtful
        )
        VALUES ($1, $2::uuid, $3, $4, now() - interval '{age}', $5, false)
        """,
        path,
        client.run_id,
        digest_of(b"orphan"),
        uuid4(),
        not settled,
    )
