"""Where the setting says so, a publication reaches the tenants by a rollout of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.harness import RUNS, migration, started
from tests.integration.tenant.lacking_tenants import COUNT, COUNTER, NAMES, counters, lacking
from tests.support.waiting import wait_until

from tenant.config import RolloutMode
from tenant.store import operation_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.operations import Operation

MORE = migration("runs", 4, "UPDATE counter SET n = n + 10")


@pytest.fixture
async def service(config: Config) -> AsyncIterator[Composition]:
    async with lacking(config) as service:
        await service.runner.stop()  # its setting is another one
        yield service


async def test_a_publication_begins_a_rollout_where_the_setting_says_so(
    config: Config,
    service: Composition,
    postgres: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    async with started(replace(config, rollout_on_publish=RolloutMode.WAVES)) as waves:
        waves.runner.start()  # with a rollout of what was published before
        published = await waves.schema.publish("runs", [RUNS, COUNTER, COUNT, MORE])
        assert published.published_count == 1
        assert await rolled_out(management, 4) == ("done", "", "", [])
    assert await counters(postgres, service) == [11] * len(NAMES)


async def test_what_is_published_while_a_rollout_ends_is_rolled_out_too(
    config: Config,
    service: Composition,
    postgres: PostgresServer,
    management: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = operation_runs.record_step
    ending, published = asyncio.Event(), asyncio.Event()

    async def record_step(*arguments: object, last: bool) -> Operation | None:
        if last and not published.is_set():  # it has looked for what follows, and found nothing
            ending.set()
            await published.wait()
        return await record(*arguments, last=last)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(operation_runs, "record_step", record_step)
    async with started(replace(config, rollout_on_publish=RolloutMode.WAVES)) as waves:
        waves.runner.start()  # with a rollout of what was published before
        await ending.wait()
        await waves.schema.publish("runs", [RUNS, COUNTER, COUNT, MORE])
        published.set()
        assert await rolled_out(management, 4) == ("done", "", "", [])
    assert await counters(postgres, service) == [11] * len(NAMES)


async def rolled_out(management: asyncpg.Connection, number: int) -> tuple[object, ...]:
    """Return how the rollout of a migration of runs has ended, and what failed in any."""

    async def ended() -> asyncpg.Record | None:
        return await management.fetchrow(
            """
            SELECT state, reason, message,
                   ARRAY(SELECT tenant_id || ': ' || failure FROM rollout_tenants
                          WHERE failure <> '') AS failures
              FROM operations JOIN rollouts USING (id)
             WHERE targets ->> 'runs' = $1 AND state <> 'running'
            """,
            str(number),
        )

    return tuple(await wait_until(ended, seconds=60))
