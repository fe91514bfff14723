"""A tenant that has worked is purged: nothing of it is in any file of the stack afterwards."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING

import pytest
from tests.support.canaries import (
    checkpoint_temporal,
    files_of_stack,
    marked_tenant,
    operation_ended,
)

from nagaya.tenant.v1 import operation_pb2, tenant_service_pb2
from nagaya_client.cli.main import run as nagaya
from nagaya_local.clone.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@pytest.mark.timeout(300)
async def test_nothing_of_a_purged_tenant_is_in_any_file(
    stack: LocalStack, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary, step = f"canary{secrets.token_hex(12)}", f"step-{secrets.token_hex(8)}"
    tenant_id = (await marked_tenant(stack, client, canary, step)).tenant_id
    holding, naming = await asyncio.to_thread(files_of_stack, stack, canary, step)
    kept = str(stack.layout.data / "backups")
    assert any(file.startswith(kept) for file in holding)
    assert any(not file.startswith(kept) for file in holding)
    assert naming

    purge = tenant_service_pb2.PurgeTenantRequest(tenant_id=tenant_id, request_id=tenant_id)
    operation = (await client.tenants.PurgeTenant(purge)).operation
    done = await operation_ended(client, operation.operation_id)

    assert done.state == operation_pb2.OPERATION_STATE_DONE, done.error
    checkpoint_temporal(stack)
    assert await asyncio.to_thread(files_of_stack, stack, canary, step) == [[], []]
    request = tenant_service_pb2.GetDeletionCertificateRequest(tenant_id=tenant_id)
    found = await client.tenants.GetDeletionCertificate(request)
    file = tmp_path / "certificate.json"
    file.write_bytes(found.certificate)
    jwks = str(Keys(stack.layout.keys).jwks)
    assert nagaya(["certificate", "verify", str(file), "--jwks", jwks]) == 0
    shown = capsys.readouterr().out
    assert tenant_id in shown
    document = json.loads(found.certificate)["document"]
    stores = {one["store"]: one for one in document["stores"]}
    assert {one["found_after"] for one in stores.values()} == {0}
    assert stores["objects of the bucket storage"]["found_before"] >= 2
    assert (
        stores["workflows and their histories in Temporal's namespace default"]["found_before"] == 1
    )
    file.write_bytes(found.certificate.replace(b'"found_after":0', b'"found_after":1', 1))
    assert nagaya(["certificate", "verify", str(file), "--jwks", jwks]) == 1
