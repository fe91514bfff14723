"""The tenant service is killed with -9 in the middle of purges: each is finished, by itself.

Judged by PostgreSQL, by every file of the stack, and by what `nagaya tenant doctor` finds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.canaries import checkpoint_temporal, files_of_stack, marked_tenant
from tests.support.waiting import wait_until

from nagaya.tenant.v1 import (
    operation_pb2,
    operation_service_pb2,
    tenant_finding_pb2,
    tenant_service_pb2,
)
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

KILLS = int(os.environ.get("KILLED_PURGES", "3"))
LONGEST_SECONDS = 8.0
"""A purge takes longer only while it waits for Temporal."""


@pytest.mark.timeout(600)
async def test_a_purge_whose_service_is_killed_is_finished_and_leaves_nothing(
    stack: LocalStack,
) -> None:
    async with stack.client() as client:
        marks = [f"canary{secrets.token_hex(12)}" for _ in range(KILLS)]
        marked = [await marked_tenant(stack, client, mark, f"step-{mark}") for mark in marks]
        assert all(await asyncio.to_thread(files_of_stack, stack, *marks))
        tenants = [one.tenant_id for one in marked]
        for tenant_id in tenants:
            await _purge(client, tenant_id)
            await asyncio.sleep(random.uniform(0.0, LONGEST_SECONDS))  # noqa: S311 - a sample
            _kill(stack)
        for tenant_id in tenants:
            done = await wait_until(lambda one=tenant_id: _ended(client, one), seconds=180)
            assert done.state == operation_pb2.OPERATION_STATE_DONE, done.error
        checkpoint_temporal(stack)
        assert not any(await asyncio.to_thread(files_of_stack, stack, *marks))
        names = await _left(stack)
        assert [name for name in names if name in tenants] == []
        found = await client.tenants.RepairTenants(
            tenant_service_pb2.RepairTenantsRequest(dry_run=True)
        )
        assert list(found.unchecked) == []
        kept = [one for one in found.findings if one.kind != _UNFINISHED]
        assert kept == []


_UNFINISHED = tenant_finding_pb2.TENANT_FINDING_KIND_UNFINISHED


async def _purge(client: Client, tenant_id: str) -> None:
    """Begin a purge, also while the service that was killed comes back."""
    request = tenant_service_pb2.PurgeTenantRequest(tenant_id=tenant_id, request_id=tenant_id)

    async def begun() -> bool:
        try:
            await client.tenants.PurgeTenant(request)
        except ApiError as error:
            if not error.transient:
                raise
            return False
        return True

    await wait_until(begun, seconds=60, pause=0.2)


async def _ended(client: Client, tenant_id: str) -> operation_pb2.Operation | None:
    request = operation_service_pb2.ListOperationsRequest(tenant_id=tenant_id)
    try:
        (found,) = (await client.operations.ListOperations(request)).operations
    except ApiError as error:
        if not error.transient:
            raise
        return None
    except ValueError:
        return None  # the creation's operation has not gone yet
    return found if found.state != operation_pb2.OPERATION_STATE_RUNNING else None


def _kill(stack: LocalStack) -> None:
    pid = json.loads(stack.layout.pids.read_text()).get("tenant")
    if pid is not None:  # else it is being started again
        os.kill(pid, signal.SIGKILL)


async def _left(stack: LocalStack) -> list[str]:
    connection = await asyncpg.connect(stack.endpoints.pg_url)
    rows = await connection.fetch("SELECT id FROM tenants")
    await connection.close()
    return [row["id"] for row in rows]
