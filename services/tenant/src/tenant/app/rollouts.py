"""Creation, pausing and resumption of rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.call import current_principal
from tenant.domain.migrations import MigrationTarget, fingerprint
from tenant.domain.operations import OperationKind, OperationState
from tenant.domain.rollouts import WAVES, RolloutPlan
from tenant.errors.rollouts import (
    RolloutEnded,
    RolloutNotFound,
    RolloutPaused,
    RolloutUnfinished,
)
from tenant.operations.saga import Saga, Step
from tenant.store import (
    operation_runs,
    operations,
    published_migrations,
    rollout_tenants,
    rollouts,
    schema_states,
)

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.domain.rollouts import RolloutRecord
    from tenant.operations.operations import Operations
    from tenant.rollout.waves import RolloutWaves


class Rollouts:
    """Rollouts as operations: a paused one is an operation that has failed."""

    def __init__(
        self,
        management: ManagementPool,
        operations: Operations,
        waves: RolloutWaves,
        *,
        on_publish: bool,
    ) -> None:
        self._management = management
        self._operations = operations
        self._waves = waves
        self._on_publish = on_publish

    @property
    def saga(self) -> Saga:
        """The saga of operations of kind `rollout`; a cancelled one leaves what it applied."""
        steps = [Step(WAVES, self._waves.run), Step("next", self._follow)]
        return Saga(OperationKind.ROLLOUT, steps, undo=self._cancel)

    async def create(self, request_id: str, plan: RolloutPlan) -> RolloutRecord:
        """Begin a rollout of what is published, or return the one of the same request.

        Raises RequestIdReused, RolloutUnfinished, RolloutInvalid.
        """
        async with self._management.transaction() as connection:
            await rollouts.lock(connection)
            rollout_id = await self._insert(connection, request_id, plan)
        self._operations.run(rollout_id)
        return await self._find(rollout_id)

    async def follow_publication(self) -> None:
        """Begin a rollout of what is published, where the setting says so.

        Nothing is begun while another rollout is unfinished: it calls this again after its waves.
        """
        if not self._on_publish:
            return
        async with self._management.transaction() as connection:
            await rollouts.lock(connection)
            if await rollouts.unfinished(connection) is not None:
                return
            published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
            request_id = f"publication {fingerprint(published)[:32]}"
            if await operations.find_by_request_id(connection, request_id) is not None:
                return
            if not await schema_states.tenants_behind(connection):
                return
            rollout_id = await self._insert(connection, request_id, RolloutPlan.parse())
        self._operations.run(rollout_id)

    async def pause(self, rollout_id: str) -> RolloutRecord:
        """Begin with no further tenant. Raises RolloutNotFound, RolloutEnded."""
        found = await self._unended(rollout_id)
        if found.operation.state is OperationState.RUNNING:
            user_id = current_principal().user_id
            paused = RolloutPaused(rollout_id, found.failed_count, user_id)
            async with self._management.transaction() as connection:
                # The process that runs it sees this before it begins with another tenant.
                await operation_runs.fail(connection, rollout_id, paused.reason, paused.message)
                await audit.append(connection, "rollout.pause", "rollout", rollout_id)
        return await self._find(rollout_id)

    async def resume(self, rollout_id: str, failure_budget: int | None) -> RolloutRecord:
        """Go on, with those first that have failed. Raises RolloutNotFound, RolloutEnded."""
        await self._unended(rollout_id)
        async with self._management.transaction() as connection:
            if failure_budget is not None:
                await rollouts.set_failure_budget(connection, rollout_id, failure_budget)
            await operations.reopen(connection, rollout_id)
            details = None if failure_budget is None else {"failure_budget": failure_budget}
            await audit.append(connection, "rollout.resume", "rollout", rollout_id, details)
        self._operations.run(rollout_id)
        return await self._find(rollout_id)

    async def _insert(self, connection: Connection, request_id: str, plan: RolloutPlan) -> str:
        """Begin an operation, unless this request has, and insert what it applies to whom."""
        unfinished = await rollouts.unfinished(connection)
        operation = await self._operations.begin(
            connection, OperationKind.ROLLOUT, "", request_id, plan.arguments()
        )
        rollout_id = operation.operation_id
        if await rollouts.find(connection, rollout_id) is not None:
            return rollout_id
        if unfinished is not None:
            raise RolloutUnfinished(unfinished)
        published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        targets = {migration.service: migration.number for migration in published}
        behind = await schema_states.tenants_behind(connection)
        waves = plan.waves(behind, rollout_id)
        await rollouts.insert(
            connection, rollout_id, targets, plan.failure_budget, plan.concurrency
        )
        await rollout_tenants.insert(connection, rollout_id, waves)
        details = {"targets": targets, "tenants": len(behind), "waves": len(waves)}
        await audit.append(connection, "rollout.create", "rollout", rollout_id, details)
        return rollout_id

    async def _follow(self, _: Connection, __: Operation) -> None:
        """Begin with what was published while this rollout was under way."""
        await self.follow_publication()

    async def _cancel(self, connection: Connection, operation: Operation) -> None:
        await rollout_tenants.reopen(connection, operation.operation_id)

    async def _find(self, rollout_id: str) -> RolloutRecord:
        async with self._management.connection() as connection:
            found = await rollouts.find(connection, rollout_id)
        if found is None:
            raise RolloutNotFound(rollout_id)
        return found

    async def _unended(self, rollout_id: str) -> RolloutRecord:
        found = await self._find(rollout_id)
        if found.operation.state in (OperationState.DONE, OperationState.CANCELLED):
            raise RolloutEnded(rollout_id, found.operation.state)
        return found
