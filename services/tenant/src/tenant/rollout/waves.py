"""The work of a rollout: tenant after tenant, wave after wave, as its RolloutPlan divides them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from tenant.domain.migrations import MigrationTarget
from tenant.domain.rollouts import RolloutTenantState
from tenant.domain.tenants import TenantState
from tenant.errors.moves import ServerLost
from tenant.errors.rollouts import RolloutNotFound, RolloutPaused
from tenant.operations.saga import tenant_lock
from tenant.store import published_migrations, rollout_tenants, rollouts, tenants
from tenant.store.locks import LockHeld

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.migrations import Migration
    from tenant.domain.operations import Operation
    from tenant.domain.rollouts import RolloutRecord
    from tenant.operations.operations import Operations
    from tenant.rollout.rollout import Rollout
    from tenant.store.locks import AdvisoryLocks

_BUSY_SECONDS = 60.0
_LOCK_SECONDS = 60.0
_log = logging.getLogger(__name__)


class RolloutWaves:
    """Migrates the tenants of a rollout; may be killed at any moment and run again.

    What a tenant's own database records decides whether a migration is applied. So the states in
    `rollout_tenants` only tell people, and who comes next.
    """

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        operations: Operations,
        rollout: Rollout,
    ) -> None:
        self._management = management
        self._locks = locks
        self._operations = operations
        self._rollout = rollout

    async def run(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Migrate every tenant whose turn has not come, or that has failed; return the counts.

        Raises RolloutPaused once more tenants have failed than the budget allows.
        """
        rollout_id = operation.operation_id
        await rollout_tenants.reopen(connection, rollout_id)
        found = await self._find(connection, rollout_id)
        files = [
            migration
            for migration in await published_migrations.list_for(connection, MigrationTarget.TENANT)
            if migration.number <= found.targets.get(migration.service, 0)
        ]
        while (wave := await rollout_tenants.next_wave(connection, rollout_id)) is not None:
            async with asyncio.TaskGroup() as workers:
                for _ in range(found.concurrency):
                    workers.create_task(self._migrate_each(operation, wave, files))
            found = await self._find(connection, rollout_id)
            if await rollout_tenants.next_wave(connection, rollout_id) == wave:
                raise RolloutPaused(rollout_id, found.failed_count)
        if found.failed_count > found.failure_budget:
            raise RolloutPaused(rollout_id, found.failed_count)
        return {"result": {"failed_tenants": str(found.failed_count)}}

    async def _find(self, connection: Connection, rollout_id: str) -> RolloutRecord:
        found = await rollouts.find(connection, rollout_id)
        if found is None:
            raise RolloutNotFound(rollout_id)
        return found

    async def _migrate_each(
        self, operation: Operation, wave: int, files: Sequence[Migration]
    ) -> None:
        rollout_id = operation.operation_id
        while True:
            async with self._management.connection() as connection:
                tenant_id = await rollout_tenants.claim(connection, rollout_id, wave)
            if tenant_id is None:
                return
            state, failure = await self._try_migrate(tenant_id, files)
            async with self._management.connection() as connection:
                await rollout_tenants.record(connection, rollout_id, tenant_id, state, failure)
                ended, total = await rollout_tenants.progress(connection, rollout_id)
            await self._operations.progress(operation, ended, total, "tenants")

    async def _try_migrate(
        self, tenant_id: str, files: Sequence[Migration]
    ) -> tuple[RolloutTenantState, str]:
        """Migrate one tenant; return how it ended, and why if it failed."""
        try:
            return await self._migrate(tenant_id, files)
        except ServerLost:  # a restoration elsewhere applies what is published
            return RolloutTenantState.SKIPPED, ""
        except LockHeld:
            return RolloutTenantState.FAILED, "another operation holds the tenant"
        except DomainError as error:
            return RolloutTenantState.FAILED, error.message
        except Exception:
            _log.exception(
                "a tenant of a rollout failed unexpectedly",
                extra={"event": "rollout.defect_found", "tenant_id": tenant_id},
            )
            return RolloutTenantState.FAILED, "internal error"

    async def _migrate(
        self, tenant_id: str, files: Sequence[Migration]
    ) -> tuple[RolloutTenantState, str]:
        async with self._locks.holding(tenant_lock(tenant_id), _BUSY_SECONDS) as connection:
            tenant = await tenants.find(connection, tenant_id)
            if tenant is None or tenant.state is not TenantState.ACTIVE:
                return RolloutTenantState.SKIPPED, ""
            progress = await self._rollout.apply(
                connection, tenant_id, tenant.server_id, tenant.database, files, _LOCK_SECONDS
            )
        why = "; ".join(f"{name}: {failure}" for name, failure in progress.failures.items())
        return (RolloutTenantState.FAILED if why else RolloutTenantState.DONE), why
