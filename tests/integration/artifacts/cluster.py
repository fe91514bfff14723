"""The databases of the tenants acme and globex, and a management database, with their tables."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from tests.fixtures.databases import PASSWORD, create_database

from dataplane.databases import MANAGEMENT, Databases
from dataplane.directory import TenantDirectory
from dataplane.pools import ConnectionParameters
from dataplane.tenants import DataPlane, ManagementPool, TenantPools
from nagaya.tenant.v1 import tenant_pb2
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer

TENANTS = ("acme", "globex")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the databases are. Plain data, so that another process can be told."""

    superuser: str
    names: dict[str, str]

    @classmethod
    def create(cls, server: PostgresServer) -> Cluster:
        suffix = secrets.token_hex(4)
        names = {tenant: f"t_{tenant}_{suffix}" for tenant in TENANTS}
        cluster = cls(server.superuser_url(), {**names, MANAGEMENT: f"m_{suffix}"})
        asyncio.run(cluster._create_all())
        return cluster

    @classmethod
    def parse(cls, text: str) -> Cluster:
        return cls(**json.loads(text))

    def encode(self) -> str:
        return json.dumps(asdict(self))

    def url(self, tenant_id: str) -> str:
        return self.superuser.rpartition("/")[0] + "/" + self.names[tenant_id]

    def data_plane(self) -> DataPlane:
        """Return what the tenant service would make of these databases."""
        directory = TenantDirectory(open_channel("127.0.0.1:1", None))
        for tenant_id in TENANTS:
            state = tenant_pb2.TENANT_STATE_ACTIVE
            directory._put(tenant_pb2.Tenant(tenant_id=tenant_id, state=state, generation=1))
        directory._synced.set()
        databases = Databases(self._resolve, "artifacts", 40, None)
        return DataPlane(TenantPools(databases), ManagementPool(databases), directory)

    async def create_run(self, tenant_id: str) -> str:
        """Insert a run that is held, which files can belong to; return its id."""
        run_id = str(uuid4())
        connection = await asyncpg.connect(self.url(tenant_id))
        await connection.execute(
            """
            INSERT INTO runs (id, status, held, pipeline, pipeline_version, user_id, request_id,
                              request_digest)
            VALUES ($1::uuid, 'pending', true, 'article', 1, 'ada', $2, '')
            """,
            run_id,
            run_id,
        )
        await connection.close()
        return run_id

    async def _resolve(self, tenant_id: str) -> ConnectionParameters:
        port = urlsplit(self.superuser).port or 0
        name = self.names[tenant_id]
        return ConnectionParameters(
            "127.0.0.1", port, name, f"{name}_artifacts", PASSWORD, 1, 30, "local"
        )

    async def _create_all(self) -> None:
        for tenant_id, name in self.names.items():
            target = "management" if tenant_id == MANAGEMENT else "tenant"
            await create_database(self.superuser, name, target, ("tenant", "runs", "artifacts"))
            if tenant_id != MANAGEMENT:
                connection = await asyncpg.connect(self.url(tenant_id))
                await connection.execute("INSERT INTO tenant_identity VALUES ($1)", tenant_id)
                await connection.close()
