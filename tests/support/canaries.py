"""Texts that are put wherever a tenant's data can be, and looked for in every file of a stack."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
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
from nagaya.tenant.v1 import (
    backup_service_pb2,
    operation_pb2,
    operation_service_pb2,
    tenant_service_pb2,
)
from nagaya_local.parts.postgres import PostgresServer

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@dataclass(frozen=True)
class Marked:
    """A deleted tenant that has worked, with texts wherever its data can be."""

    tenant_id: str
    canary: str
    step: str
    """The name of a step that only this tenant has."""


async def marked_tenant(stack: LocalStack, client: Client, canary: str, step: str) -> Marked:
    """Have a tenant work on the canary, back it up, delete it, and plant more where it lies.

    A deleted tenant is kept for days, so that no purge begins by itself.
    """
    tenant_id = await create_tenant(client, "purged")
    await create_prompt(client, tenant_id, step, f"Write about {{{{topic}}}} {canary}")
    bind = {"variable": "topic", "output": {"step": "input", "jsonPointer": "/topic"}}
    model = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
    steps = [{"step": step, "needs": ["input"], "llm": {"bindings": [bind], "model": model}}]
    await create_pipeline(client, tenant_id, canary[:30], {"steps": steps})
    run_id = await create_run(client, tenant_id, canary[:30], {"topic": canary})
    run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    backup = backup_service_pb2.CreateBackupRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex
    )
    begun = (await client.backups.CreateBackup(backup)).operation
    done = await operation_ended(client, begun.operation_id)
    assert done.state == operation_pb2.OPERATION_STATE_DONE, done.error
    tenant = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
    database = (await client.tenants.GetTenant(tenant)).tenant.database
    await client.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant_id=tenant_id))
    assert await _plant(stack, database, canary) > 20
    return Marked(tenant_id, canary, step)


async def operation_ended(client: Client, operation_id: str) -> operation_pb2.Operation:
    """Return an operation once it has ended."""
    request = operation_service_pb2.GetOperationRequest(operation_id=operation_id)

    async def over() -> operation_pb2.Operation | None:
        found = (await client.operations.GetOperation(request)).operation
        return found if found.state != operation_pb2.OPERATION_STATE_RUNNING else None

    return await wait_until(over, seconds=200, pause=0.5)


def files_of_stack(stack: LocalStack, *texts: str) -> list[list[str]]:
    """Find texts in every file of the stack but those of the stub, which plays the providers."""
    layout = stack.layout
    folders = [
        _server(stack).data,
        *(one for one in layout.data.iterdir() if one.is_dir() and one != layout.llmstub),
    ]
    return files_with(folders, *texts)


def checkpoint_temporal(stack: LocalStack) -> None:
    """Have SQLite put Temporal's log into its database and cut it, as a server that stops does."""
    connection = sqlite3.connect(stack.layout.temporal / "temporal.db", timeout=20)
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert not busy


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
