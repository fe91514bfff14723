"""A tenant that has worked is purged: nothing of it is in any file of the stack afterwards."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)
from tests.support.stored_text import files_with
from tests.support.waiting import wait_until

from nagaya.runs.v1 import run_pb2
from nagaya.tenant.v1 import operation_pb2, operation_service_pb2, tenant_service_pb2
from nagaya_client.cli.main import run as nagaya
from nagaya_local.clone.keys import Keys
from nagaya_local.parts.postgres import PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@pytest.mark.timeout(300)
async def test_nothing_of_a_purged_tenant_is_in_any_file(
    stack: LocalStack, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary, step = f"canary{secrets.token_hex(12)}", f"step-{secrets.token_hex(8)}"
    tenant_id = await create_tenant(client, "purged")
    await create_prompt(client, tenant_id, step, f"Write about {{{{topic}}}} {canary}")
    bind = {"variable": "topic", "output": {"step": "input", "jsonPointer": "/topic"}}
    model = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
    steps = [{"step": step, "needs": ["input"], "llm": {"bindings": [bind], "model": model}}]
    await create_pipeline(client, tenant_id, canary[:30], {"steps": steps})
    run_id = await create_run(client, tenant_id, canary[:30], {"topic": canary})
    run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    tenant = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
    database = (await client.tenants.GetTenant(tenant)).tenant.database
    # Kept for days, so that no purge begins while it is looked at.
    await client.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant_id=tenant_id))
    assert await _plant(stack, database, canary) > 20
    assert all(await asyncio.to_thread(_files_with, stack, canary, step))

    purge = tenant_service_pb2.PurgeTenantRequest(tenant_id=tenant_id, request_id=tenant_id)
    operation = (await client.tenants.PurgeTenant(purge)).operation
    done = await _ended(client, operation.operation_id)

    assert done.state == operation_pb2.OPERATION_STATE_DONE, done.error
    _checkpoint(stack.layout.temporal / "temporal.db")
    assert await asyncio.to_thread(_files_with, stack, canary, step) == [[], []]
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


async def _ended(client: Client, operation_id: str) -> operation_pb2.Operation:
    request = operation_service_pb2.GetOperationRequest(operation_id=operation_id)

    async def over() -> operation_pb2.Operation | None:
        found = (await client.operations.GetOperation(request)).operation
        return found if found.state != operation_pb2.OPERATION_STATE_RUNNING else None

    return await wait_until(over, seconds=200, pause=0.5)


def _server(stack: LocalStack) -> PostgresServer:
    return PostgresServer(stack.layout.postgres, urlsplit(stack.endpoints.pg_url).port or 0)


async def _plant(stack: LocalStack, database: str, canary: str) -> int:
    """Put a canary into every text, jsonb and bytea column that takes one; return how many did.

    The database is closed to the services: they would read, and log, states that are none.
    """
    postgres = await asyncpg.connect(_server(stack).superuser_url())
    await postgres.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    superuser = await asyncpg.connect(_server(stack).superuser_url(database))
    columns = await superuser.fetch(
        """
        SELECT c.table_name, c.column_name, c.data_type
          FROM information_schema.columns AS c
          JOIN information_schema.tables AS t USING (table_schema, table_name)
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
           AND c.data_type IN ('text', 'jsonb', 'bytea') AND c.is_generated = 'NEVER'
        """
    )
    await superuser.execute("SET session_replication_role = replica")
    planted = 0
    for table, column, kind in columns:
        value = f'{{"x": "{canary}"}}' if kind == "jsonb" else canary
        try:
            done = await superuser.execute(f'UPDATE "{table}" SET "{column}" = $${value}$$::{kind}')
        except asyncpg.IntegrityConstraintViolationError:
            continue  # a column that cannot hold any text
        planted += done != "UPDATE 0"
    await superuser.execute("CHECKPOINT")
    await superuser.close()
    await postgres.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
    await postgres.close()
    return planted


def _files_with(stack: LocalStack, *texts: str) -> list[list[str]]:
    """Find texts in every file of the stack but those of the stub, which plays the providers."""
    layout = stack.layout
    folders = [
        _server(stack).data,
        *(one for one in layout.data.iterdir() if one.is_dir() and one != layout.llmstub),
    ]
    return files_with(folders, *texts)


def _checkpoint(database: Path) -> None:
    """Have SQLite put its log into the database and cut it, as a server that stops does."""
    connection = sqlite3.connect(database, timeout=20)
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert not busy
