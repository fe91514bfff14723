"""The numbers about the whole installation that its metrics tell."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tenant.store import overview

if TYPE_CHECKING:
    import asyncpg

    from tenant.composition import Composition
    from tenant.store.overview import Overview


async def read(service: Composition) -> Overview:
    async with service.management.connection() as connection:
        return await overview.read(connection)


async def insert_operation(management: asyncpg.Connection, kind: str, state: str) -> uuid.UUID:
    """Insert an operation that began two hours ago and has not moved since, or has just ended."""
    return await management.fetchval(
        """
        INSERT INTO operations
            (kind, tenant_id, request_id, arguments, user_id, state, stuck_reason, created_at,
             updated_at, due_at, ended_at)
        VALUES ($1, 'acme', $3, '{}', 'ada', $2, 'PostgreSQL is away', now() - interval '2 hours',
                now() - interval '2 hours', now() + interval '1 day',
                CASE WHEN $2 <> 'running' THEN now() END)
        RETURNING id
        """,
        kind,
        state,
        uuid.uuid4().hex,
    )


async def test_tenants_and_operations_are_counted(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    before = await read(service)
    await insert_operation(management, "export_tenant", "running")
    await insert_operation(management, "create_backup", "failed")
    found = await read(service)

    assert found.tenants == {"active": 1}
    assert found.servers == {"main": 1}
    (running,) = set(found.running) - set(before.running)
    assert (running.kind, running.count, running.stuck) == ("export_tenant", 1, 1)
    assert running.idle_seconds >= 7200
    assert found.ended["create_backup", "failed"] == 1


async def test_a_schedule_without_a_good_backup_of_late_is_overdue(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    tried = await insert_operation(management, "create_backup", "failed")
    await management.execute(
        """
        INSERT INTO backup_schedules
            (tenant_id, every, keep_count, keep_for, verify, user_id, next_at, last_operation_id)
        VALUES ('acme', interval '1 hour', 3, interval '1 day', false, 'ada',
                now() + interval '1 hour', $1)
        """,
        tried,
    )
    without = await read(service)
    backup = """
        INSERT INTO backups (id, tenant_id, folder, state, kind, snapshot_at, verification)
        VALUES (gen_random_uuid(), 'acme', 'f', 'complete', 'scheduled', now() - $1::interval, $2)
    """
    await management.execute(backup.replace("$1", "'3 hours'").replace("$2", "'failed'"))
    old = await read(service)
    await management.execute(backup.replace("$1", "'1 minute'").replace("$2", "'never'"))
    fresh = await read(service)

    assert (without.schedules, without.overdue, without.backup_age) == (1, 1, 0)
    assert (old.overdue, old.damaged) == (1, 1)
    assert old.backup_age >= 3 * 3600
    assert (fresh.overdue, fresh.damaged) == (0, 1)
    assert fresh.backup_age < 3600


async def test_a_rollout_that_has_failed_is_paused(
    service: Composition, management: asyncpg.Connection
) -> None:
    rollout = await insert_operation(management, "rollout", "failed")
    await management.execute("INSERT INTO rollouts VALUES ($1, '{}', 0, 1)", rollout)
    await management.execute(
        "INSERT INTO rollout_tenants VALUES ($1, 'acme', 1, 1, 'failed'), ($1, 'b', 2, 2, 'done')",
        rollout,
    )

    found = await read(service)

    assert found.rollout_paused
    assert found.rollout_tenants == {"failed": 1, "done": 1}
