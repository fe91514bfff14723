"""The tenant service in one process, ways to kill it, and migrations that services publish."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from servicekit.identity import Principal
from tenant.composition import Composition, compose
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.store import operation_runs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from types import ModuleType

    from tenant.config import Config
    from tenant.creation import Step
    from tenant.domain.operations import Operation

ADA = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))


@asynccontextmanager
async def started(config: Config) -> AsyncGenerator[Composition]:
    """Run one replica for the block."""
    async with compose(config) as service:
        await service.startup.run()
        yield service


class Killed(BaseException):
    """What a process does not survive."""


@contextmanager
def killed_after(step: Step) -> Generator[None]:
    """Kill what creates a tenant in the block when `step` is done, before that is recorded."""
    record = operation_runs.record_step

    async def record_step(*arguments: object, last: bool) -> Operation | None:
        if arguments[2] == step:
            raise Killed
        return await record(*arguments, last=last)  # pyright: ignore[reportArgumentType]

    with patch.object(operation_runs, "record_step", record_step), pytest.raises(Killed):
        yield


@contextmanager
def killed_at(store: ModuleType, function: str) -> Generator[None]:
    """Kill what runs in the block when it calls a function of a store."""

    async def die(*_: object) -> None:
        raise Killed

    with patch.object(store, function, die), pytest.raises(Killed):
        yield


def migration(
    service: str,
    number: int,
    sql: str,
    *,
    target: MigrationTarget = MigrationTarget.TENANT,
    requires: tuple[tuple[str, int], ...] = (),
) -> Migration:
    return Migration.parse(service, target, number, f"file_{number}", requires, sql)


RUNS = migration(
    "runs",
    1,
    """
    CREATE TABLE runs (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), note TEXT);
    SELECT nagaya_grant('artifacts', 'REFERENCES', 'runs');
    """,
)
ARTIFACTS = migration(
    "artifacts",
    1,
    "CREATE TABLE artifacts (id BIGSERIAL PRIMARY KEY, run_id UUID NOT NULL REFERENCES runs (id));",
    requires=(("runs", 1),),
)


async def publish_both(service: Composition) -> None:
    await service.schema.publish("runs", [RUNS])
    await service.schema.publish("artifacts", [ARTIFACTS])
