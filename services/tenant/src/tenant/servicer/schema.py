"""The gRPC methods of SchemaService."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya.tenant.v1 import schema_service_pb2_grpc
from servicekit.call import current_principal
from tenant import wire
from tenant.servicer.callers import calling_service, covered_tenants
from tenant.store import schema_states

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.schema import Schema


class SchemaServicer(schema_service_pb2_grpc.SchemaServiceServicer):
    """Publishes migrations, and lists which databases have them."""

    def __init__(self, schema: Schema, management: ManagementPool) -> None:
        self._schema = schema
        self._management = management

    async def PublishMigrations(
        self, request: pb.PublishMigrationsRequest, context: Context
    ) -> pb.PublishMigrationsResponse:
        service = calling_service()
        # Tokenizing 16 MiB of SQL takes seconds; a thread keeps the event loop free.
        migrations = await asyncio.to_thread(wire.migrations, service, request.migrations)
        return wire.publication(await self._schema.publish(service, migrations))

    async def GetSchemaStatus(
        self, request: pb.GetSchemaStatusRequest, context: Context
    ) -> pb.GetSchemaStatusResponse:
        covered = covered_tenants(current_principal())
        async with self._management.connection() as connection:
            page = await schema_states.page(
                connection, request.tenant_id, covered, request.page_size, request.page_token
            )
        return pb.GetSchemaStatusResponse(
            statuses=map(wire.schema_status, page.items), next_page_token=page.next_token
        )
