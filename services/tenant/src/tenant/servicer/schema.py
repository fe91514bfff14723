"""The gRPC methods of SchemaService: unpack, call, pack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya.tenant.v1 import schema_service_pb2_grpc
from servicekit.call import current_principal
from tenant import wire
from tenant.servicer.callers import calling_service, covered_tenants

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.schema import Schema
    from tenant.store.schema_states import SchemaStateStore


class SchemaServicer(schema_service_pb2_grpc.SchemaServiceServicer):
    def __init__(
        self, schema: Schema, management: ManagementPool, states: SchemaStateStore
    ) -> None:
        self._schema = schema
        self._management = management
        self._states = states

    async def PublishMigrations(
        self, request: pb.PublishMigrationsRequest, context: Context
    ) -> pb.PublishMigrationsResponse:
        service = calling_service()
        # 16 MiB of SQL take seconds to look through; a thread lets other calls pass meanwhile.
        migrations = await asyncio.to_thread(wire.migrations, service, request.migrations)
        return wire.publication(await self._schema.publish(service, migrations))

    async def GetSchemaStatus(
        self, request: pb.GetSchemaStatusRequest, context: Context
    ) -> pb.GetSchemaStatusResponse:
        covered = covered_tenants(current_principal())
        async with self._management.connection() as connection:
            page = await self._states.page(
                connection, request.tenant_id, covered, request.page_size, request.page_token
            )
        return pb.GetSchemaStatusResponse(
            statuses=map(wire.schema_status, page.items), next_page_token=page.next_token
        )
