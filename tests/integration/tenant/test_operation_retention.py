"""Operations that have ended are kept for a while, and those that somebody needs for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.integration.tenant.harness import started

from tenant.domain.operations import OperationKind

if TYPE_CHECKING:
    import asyncpg

    from tenant.composition import Composition
    from tenant.config import Config

_INSERT = """
INSERT INTO operations (kind, tenant_id, request_id, arguments, user_id, state, ended_at)
VALUES ($1, 'acme', $1 || '/' || $2 || '/' || $3::int, '{}', 'ada', $2,
        CASE WHEN $2 <> 'running' THEN now() - make_interval(days => $3::int) END)
"""


async def _kept(management: asyncpg.Connection) -> set[tuple[str, str]]:
    rows = await management.fetch("SELECT kind, state FROM operations WHERE tenant_id = 'acme'")
    return {(row["kind"], row["state"]) for row in rows}


async def test_operations_that_ended_long_ago_are_deleted_and_others_are_kept(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    for state in ("running", "failed", "done", "cancelled"):
        for kind in (OperationKind.CREATE_BACKUP, OperationKind.PURGE_TENANT):
            await management.execute(_INSERT, kind.value, state, 8)
    await management.execute(_INSERT, OperationKind.EXPORT_TENANT.value, "done", 6)
    before = await _kept(management)

    async with started(replace(config, operation_days=7)) as replica:
        assert await replica.operation_sweep.sweep() == 2
        assert await replica.operation_sweep.sweep() == 0

    gone = {("create_backup", "done"), ("create_backup", "cancelled")}
    assert await _kept(management) == before - gone


async def test_with_a_retention_of_zero_all_are_kept(
    config: Config, management: asyncpg.Connection, service: Composition
) -> None:
    await management.execute(_INSERT, OperationKind.CREATE_BACKUP.value, "done", 4000)

    async with started(replace(config, operation_days=0)) as replica:
        replica.operation_sweep.task.start()

        assert await _kept(management) == {("create_backup", "done")}
