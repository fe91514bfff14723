"""Runs of a service in the process of a test, of which some wait for their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tests.support.runs_service import INPUT_FILE

from runs.api.relay.outbox import OutboxRelay
from runs.domain.activities import RunRef
from runs.domain.runs import Failure, RunStatus
from runs.domain.transitions import Transitions
from runs.store import run_transitions

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService


def relay(service: RunsService) -> OutboxRelay:
    """Make what a relay delivers starts with."""
    return OutboxRelay(service.tenants, service.launcher, service.finalizer, service.limits_of)


async def create(service: RunsService, count: int) -> list[str]:
    """Create runs one after another; return their ids."""
    return [(await service.run()).run_id for _ in range(count)]


async def queued(service: RunsService, run_ids: list[str]) -> list[str]:
    """Return the runs that wait for their turn."""
    return [run_id for run_id in run_ids if (await service.find(run_id)).queued]


async def started(service: RunsService, run_ids: list[str]) -> list[str]:
    """Return the runs that have a workflow."""
    return [one for one in run_ids if await service.launcher.describe("acme", one) is not None]


async def complete(service: RunsService, run_id: str) -> None:
    await service.journal.advance(RunRef("acme", run_id, 1), Transitions(input=INPUT_FILE))
    await service.journal.advance(RunRef("acme", run_id, 1), Transitions(completes_run=True))


async def fail(service: RunsService, run_id: str) -> None:
    async with service.tenants.transaction("acme") as connection:
        failure = Failure("BROKEN", "it broke")
        await run_transitions.finish(connection, run_id, 1, RunStatus.FAILED, failure)


async def complete_input(service: RunsService, run_id: str) -> None:
    await service.journal.advance(RunRef("acme", run_id, 1), Transitions(input=INPUT_FILE))


async def ask(database: asyncpg.Connection, run_id: str) -> None:
    """Have a run wait for a person."""
    await database.execute(
        """
        INSERT INTO approvals (approval_id, run_id, step, visit, attempt, question, subjects,
                               user_ids, permissions, excludes_creator, comment_required)
        VALUES ('a', $1, 'ask', 1, 1, 'Sure?', '[]', '{}', '{}', false, false)
        """,
        UUID(run_id),
    )
