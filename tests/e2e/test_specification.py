"""The tables of the specification, name by name, in databases that the services have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.public_api import create_tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

REQUIRED, NULLABLE = "NO", "YES"

# table: {column: (type, nullable, default)}; None where the specification says nothing of it.
Columns = dict[str, tuple[str, str | None, str | None]]

MANAGEMENT: dict[str, Columns] = {
    "tenants": {
        "id": ("text", REQUIRED, None),
        "name": ("text", REQUIRED, None),
        "database_url": ("text", REQUIRED, None),
        "created_at": ("timestamp with time zone", None, None),
        "is_active": ("boolean", None, "true"),
    },
    "llm_providers": {
        "id": ("text", REQUIRED, None),
        "display_name": ("text", REQUIRED, None),
        "api_base_url": ("text", NULLABLE, None),
        "is_active": ("boolean", None, None),
    },
    "llm_models": {
        "id": ("text", REQUIRED, None),
        "provider_id": ("text", None, None),
        "model_name": ("text", REQUIRED, None),
        "model_class": ("text", REQUIRED, None),
        "is_active": ("boolean", None, None),
    },
    "step_llm_defaults": {
        "step": ("text", REQUIRED, None),
        "provider_id": ("text", None, None),
        "model_class": ("text", REQUIRED, None),
    },
}

TENANT: dict[str, Columns] = {
    "runs": {
        "id": ("uuid", REQUIRED, "gen_random_uuid()"),
        "status": ("text", REQUIRED, None),
        "current_step": ("text", NULLABLE, None),
        "config": ("jsonb", NULLABLE, None),
        "created_at": ("timestamp with time zone", None, None),
        "updated_at": ("timestamp with time zone", None, None),
    },
    "steps": {
        "id": ("bigint", REQUIRED, None),
        "run_id": ("uuid", None, None),
        "step": ("text", REQUIRED, None),
        "status": ("text", REQUIRED, None),
        "llm_model": ("text", NULLABLE, None),
        "token_usage": ("jsonb", NULLABLE, None),
        "error_message": ("text", NULLABLE, None),
        "retry_count": ("integer", None, "0"),
        "started_at": ("timestamp with time zone", NULLABLE, None),
        "completed_at": ("timestamp with time zone", NULLABLE, None),
    },
    "artifacts": {
        "id": ("bigint", REQUIRED, None),
        "run_id": ("uuid", None, None),
        "step": ("text", REQUIRED, None),
        "file_type": ("text", REQUIRED, None),
        "file_path": ("text", REQUIRED, None),
        "digest": ("text", None, None),
        "metadata": ("jsonb", NULLABLE, None),
        "created_at": ("timestamp with time zone", None, None),
    },
    "audit_logs": {
        "id": ("bigint", REQUIRED, None),
        "user_id": ("text", REQUIRED, None),
        "action": ("text", REQUIRED, None),
        "resource_type": ("text", REQUIRED, None),
        "resource_id": ("text", REQUIRED, None),
        "details": ("jsonb", NULLABLE, None),
        "created_at": ("timestamp with time zone", None, None),
    },
    "prompts": {
        "id": ("bigint", REQUIRED, None),
        "step": ("text", REQUIRED, None),
        "version": ("integer", REQUIRED, None),
        "content": ("text", REQUIRED, None),
        "variables": ("jsonb", None, None),
        "is_active": ("boolean", None, "true"),
    },
}

CONSTRAINTS = {
    ("llm_models", "FOREIGN KEY (provider_id) REFERENCES llm_providers(id)"),
    ("step_llm_defaults", "FOREIGN KEY (provider_id) REFERENCES llm_providers(id)"),
    ("steps", "FOREIGN KEY (run_id) REFERENCES runs(id)"),
    ("artifacts", "FOREIGN KEY (run_id) REFERENCES runs(id)"),
    ("prompts", "UNIQUE (step, version)"),
}


Catalogues = tuple["asyncpg.Connection[asyncpg.Record]", "asyncpg.Connection[asyncpg.Record]"]


@pytest.fixture
async def catalogues(stack: LocalStack, client: Client) -> AsyncIterator[Catalogues]:
    """The management database, and that of a new tenant."""
    tenant_id = await create_tenant(client, "spec")
    management = await asyncpg.connect(stack.endpoints.pg_url)
    tenant = await stack.database(client, tenant_id)
    yield management, tenant
    await management.close()
    await tenant.close()


async def test_every_table_and_column_of_the_specification_is_there(
    catalogues: Catalogues,
) -> None:
    for connection, tables in zip(catalogues, (MANAGEMENT, TENANT), strict=True):
        for table, columns in tables.items():
            found = await _columns(connection, table)
            for column, (kind, nullable, default) in columns.items():
                at = f"{table}.{column}"
                assert column in found, at
                assert found[column]["data_type"] == kind, at
                assert nullable in (None, found[column]["is_nullable"]), at
                assert default in (None, found[column]["column_default"]), at


async def test_the_specifications_keys_are_there(
    catalogues: Catalogues,
) -> None:
    found: set[tuple[str, str]] = set()
    primary: dict[str, str] = {}
    for connection in catalogues:
        rows = await connection.fetch(
            """
            SELECT conrelid::regclass::text AS name, contype::text AS kind,
                   pg_get_constraintdef(oid) AS definition
              FROM pg_constraint
             WHERE connamespace = 'public'::regnamespace
            """
        )
        found |= {(row["name"], row["definition"]) for row in rows}
        primary |= {row["name"]: row["definition"] for row in rows if row["kind"] == "p"}

    assert found >= CONSTRAINTS
    for table in (*MANAGEMENT, *TENANT):
        key = "step" if table == "step_llm_defaults" else "id"
        assert primary[table] == f"PRIMARY KEY ({key})", table


async def _columns(
    connection: asyncpg.Connection[asyncpg.Record], table: str
) -> dict[str, asyncpg.Record]:
    rows = await connection.fetch(
        """
        SELECT column_name, data_type, is_nullable, column_default
          FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = $1
        """,
        table,
    )
    return {row["column_name"]: row for row in rows}
