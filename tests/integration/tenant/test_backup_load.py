"""Backups of a tenant that is written to meanwhile, and in a bucket, and on another server."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.integration.tenant.backup_stack import NOTHING, backup_stack
from tests.support.waiting import wait_until

from tenant.backup_config import BackupBucket, BackupConfig
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg
    from tests.integration.tenant.backup_stack import BackupStack

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from servicekit.testing import Keys
    from tenant.config import Config

WRITES_PER_SECOND = 50
SECONDS = float(os.environ.get("NAGAYA_BACKUP_LOAD_SECONDS", "3"))
_PAIR = """
WITH run AS (
    INSERT INTO runs (id, status, pipeline, pipeline_version, user_id, request_id, request_digest)
    VALUES ($1::uuid, 'completed', 'p', 1, 'ada', $1::uuid::text, '')
    RETURNING id
)
INSERT INTO run_events (run_id, seq, kind, payload)
SELECT id, 1, 'run', to_jsonb($1::uuid::text) FROM run
"""


@dataclass
class Writer:
    """Writes a run and its event in one statement, at a rate."""

    connection: asyncpg.Connection[asyncpg.Record]
    written: int = 0
    failed: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    async def write(self, until: asyncio.Event) -> None:
        begun = time.monotonic()
        while not until.is_set():
            await asyncio.sleep(begun + self.written / WRITES_PER_SECOND - time.monotonic())
            start = time.monotonic()
            try:
                await self.connection.execute(_PAIR, uuid.uuid4())
            except Exception as error:
                self.failed.append(repr(error))
            self.latencies.append(time.monotonic() - start)
            self.written += 1

    async def go_on(self) -> None:
        """Return when one more write has ended."""
        before = self.written
        await wait_until(lambda: asyncio.sleep(0, self.written > before))


async def test_writers_go_on_during_a_backup_which_has_one_moment(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id)
    connection = await stack.superuser(tenant_id)
    writer, end = Writer(connection), asyncio.Event()
    writing = asyncio.create_task(writer.write(end))
    backups: list[str] = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or len(backups) < 2:
        await writer.go_on()  # so that each backup has something that the one before has not
        backups.append(await stack.back_up(tenant_id))
    await wait_until(lambda: asyncio.sleep(0, writer.written >= WRITES_PER_SECOND))
    end.set()
    await writing
    await connection.close()

    assert writer.failed == []
    assert writer.written >= WRITES_PER_SECOND
    counts: list[int] = []
    for number, backup_id in enumerate(backups[:2]):
        new_id = f"copy-{number}-{uuid.uuid4().hex[:8]}"
        restored = await stack.restore(tenant_id, backup_id, new_id)
        # The digests of all tables were compared with those of the snapshot.
        assert restored.state is OperationState.DONE, restored.message
        copy = await stack.superuser(new_id)
        pairs = await copy.fetchrow(
            """
            SELECT count(*) FILTER (WHERE pipeline = 'p') AS runs,
                   (SELECT count(*) FROM run_events
                     WHERE jsonb_typeof(payload) = 'string') AS events
              FROM runs
            """
        )
        await copy.close()
        assert pairs is not None
        assert pairs["runs"] == pairs["events"]
        counts.append(pairs["runs"])
    assert 0 < counts[0] < counts[1] <= writer.written
    assert await stack.leftovers() == NOTHING


async def test_backups_are_kept_in_a_bucket_as_in_a_folder(
    config: Config,
    keys: Keys,
    postgres: PostgresServer,
    s3: S3Server,
    parts_folder: Path,
    tmp_path: Path,
) -> None:
    pair = s3.keys
    (parts_folder / "s3" / "backups").mkdir(exist_ok=True)
    bucket = BackupBucket(
        s3.endpoint, pair.access_key, pair.secret_key, "us-east-1", "backups", "nagaya/eu"
    )
    kept = BackupConfig(bucket=bucket)
    async with backup_stack(config, keys, postgres, s3, parts_folder, tmp_path, kept) as stack:
        tenant_id = await stack.created()
        files = await stack.filled(tenant_id)
        before = await stack.content(tenant_id)
        first = await stack.back_up(tenant_id)
        second = await stack.back_up(tenant_id)

        verified = await stack.verify(tenant_id, first)
        restored = await stack.restore(tenant_id, second)

        assert verified.state is OperationState.DONE, verified.message
        assert restored.state is OperationState.DONE, restored.message
        assert await stack.content(tenant_id) == before
        assert files.items() <= stack.stored(tenant_id).items()
        for backup_id in (first, second):
            await stack.delete(tenant_id, backup_id)
        root = parts_folder / "s3" / "backups" / "nagaya" / "eu"
        assert [path for path in root.rglob("*") if path.is_file()] == []
