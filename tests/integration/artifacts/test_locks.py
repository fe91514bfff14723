"""Statements on the same rows wait for each other, never in a circle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from tests.integration.artifacts.blocking import someone_waits_for_a_lock

from artifacts.domain.buffered_file import BufferedFile
from artifacts.domain.files import Draft
from artifacts.domain.keys import BucketLayout
from artifacts.store import artifacts, write_leases

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.databases import TenantDatabases

LAYOUT = BucketLayout("storage")


@pytest.fixture
async def first(
    tenant_databases: TenantDatabases,
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(tenant_databases.superuser_url("acme"))
    yield connection
    await connection.close()


@pytest.fixture
async def second(
    tenant_databases: TenantDatabases,
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(tenant_databases.superuser_url("acme"))
    yield connection
    await connection.close()


async def test_a_batch_is_committed_while_another_wants_its_paths_in_another_order(
    database: asyncpg.Connection,
    first: asyncpg.Connection,
    second: asyncpg.Connection,
    run_id: str,
) -> None:
    """The row in the middle is held until both stand in the middle of their way."""
    writer = uuid4()
    files = [_file(run_id, f"artifacts/{number}") for number in range(10, 50)]
    targets = [file.target for file in files]
    await write_leases.take(first, writer, targets)
    async with database.transaction():
        await database.execute(
            "SELECT FROM artifact_writes WHERE file_path = $1 FOR UPDATE", targets[20].key.path
        )
        backwards = [file.submission for file in reversed(files)]
        committing = asyncio.create_task(
            artifacts.commit(first, LAYOUT, writer, "ada", backwards, only_held=False)
        )
        await someone_waits_for_a_lock(database)
        taking = asyncio.create_task(write_leases.take(second, uuid4(), targets))
        await someone_waits_for_a_lock(database, 2)

    assert len(await committing) == len(await taking) == len(files)


def _file(run_id: str, name: str) -> BufferedFile:
    key = LAYOUT.key("acme", run_id, "draft", name)
    return BufferedFile.of(Draft(key, 0, 1, "text/plain", "", {}, {}, {}), b"tea")
