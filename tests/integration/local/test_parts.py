"""The embedded parts as every other test uses them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import asyncpg
from minio import Minio
from temporalio.client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from nagaya_local.parts.temporal import TemporalServer


async def test_the_provisioner_may_create_databases_and_roles_and_is_no_superuser(
    postgres: PostgresServer,
) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        role = await connection.fetchrow(
            "SELECT rolcreatedb, rolcreaterole, rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        assert tuple(role or ()) == (True, True, False)
        assert await connection.fetchval("SHOW createrole_self_grant") == "set, inherit"
        assert await connection.fetchval("SHOW server_version_num") >= "180000"
    finally:
        await connection.close()


async def test_objects_are_plain_files_under_the_bucket(s3: S3Server, parts_folder: Path) -> None:
    keys = s3.keys
    client = Minio(f"127.0.0.1:{s3.port}", keys.access_key, keys.secret_key, secure=False)
    client.put_object("storage", "acme/run/outline/output.json", io.BytesIO(b'"text"'), 6)
    assert (parts_folder / "s3/storage/acme/run/outline/output.json").read_bytes() == b'"text"'


async def test_temporal_serves_the_default_namespace(temporal: TemporalServer) -> None:
    client = await Client.connect(temporal.address)
    described = await client.service_client.check_health()
    assert described
