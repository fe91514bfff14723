"""What a tenant's suspension does to its runs: they wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.notes import wait_for_notes
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish
from tests.support.waiting import wait_until

from nagaya.runs.v1 import run_pb2
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

STEPS = 60


async def test_a_run_waits_while_its_tenant_is_suspended_and_goes_on_afterwards(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    tenant_id = await create_tenant(client, "pause")
    note, until = tmp_path / "note", tmp_path / "until"
    # However long a suspension takes: steps are left after it.
    waits = {"function": "test.waits", "arguments": {"note": str(note), "until": str(until)}}
    chain = [
        {
            "step": f"s{n:02}",
            "needs": [f"s{n - 1:02}"] if n else [],
            "function": waits if n == 2 else {"function": "constant"},
        }
        for n in range(STEPS)
    ]
    await create_pipeline(client, tenant_id, "chain", {"steps": chain})
    run_id = await create_run(client, tenant_id, "chain", None)
    await wait_for_notes(note, 1)
    log = stack.layout.data / "logs" / "runs-worker.log"
    before = log.stat().st_size
    await client.tenants.SuspendTenant(tenant_service_pb2.SuspendTenantRequest(tenant_id=tenant_id))
    until.touch()

    async def refused() -> bool:
        return b"TENANT_NOT_ACTIVE" in log.read_bytes()[before:]

    await wait_until(refused)  # nothing else tells that a step was refused
    await client.tenants.ResumeTenant(tenant_service_pb2.ResumeTenantRequest(tenant_id=tenant_id))
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert run.totals.completed_steps == STEPS
