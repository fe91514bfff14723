"""A worker starts the run whose turn it is, while no API process is there to do it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_run, create_tenant
from tests.support.waiting import wait_until

from nagaya.runs.v1 import tenant_limit_service_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.stack import LocalStack

RUNS = 3


@pytest.mark.timeout(240)
async def test_runs_that_wait_start_one_after_another_while_the_api_stands_still(
    stack: LocalStack,
) -> None:
    async with stack.client() as client:
        tenant_id = await create_tenant(client, "next")
        await load_article(client, tenant_id)
        limits = tenant_limit_service_pb2.TenantLimits(max_runs=1)
        await client.tenant_limits.SetTenantLimits(
            tenant_limit_service_pb2.SetTenantLimitsRequest(tenant_id=tenant_id, limits=limits)
        )
        held = stack.stub.script(tenant_id, {"kind": "hold"}, times=1)
        for _ in range(RUNS):
            await create_run(client, tenant_id, PIPELINE, brief() | {"topic": tenant_id})
        await stack.stub.wait_until_held(held)
        database = await stack.database(client, tenant_id)
        assert await states(database) == {"pending": RUNS - 1, "running": 1}

        api = stack.pids["runs"]
        os.kill(api, signal.SIGSTOP)
        try:
            stack.stub.release(held)

            async def completed() -> bool:
                return await states(database) == {"completed": RUNS}

            await wait_until(completed, seconds=120)
        finally:
            os.kill(api, signal.SIGCONT)
            await database.close()


async def states(database: asyncpg.Connection) -> dict[str, int]:
    """Return how many runs are in each state."""
    rows = await database.fetch("SELECT status, count(*) FROM runs GROUP BY status")
    return {row["status"]: row["count"] for row in rows}
