"""The gRPC methods of SchemaService."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya.tenant.v1 import schema_service_pb2_grpc
from servicekit.call import current_principal
from tenant import wire
from tenant.errors.rollouts import RolloutNotFound
from tenant.servicer.callers import calling_service, covered_tenants
from tenant.store import rollout_tenants, rollouts, schema_states
from tenant.wire import drift as drift_wire
from tenant.wire import rollouts as rollouts_wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import paging
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.drift import DriftCheck
    from tenant.app.rollouts import Rollouts
    from tenant.app.schema import Schema
    from tenant.domain.rollouts import RolloutTenant


class SchemaServicer(schema_service_pb2_grpc.SchemaServiceServicer):
    """Publishes migrations, brings them to the databases, and tells which of them have them."""

    def __init__(
        self, schema: Schema, rollouts: Rollouts, drift: DriftCheck, management: ManagementPool
    ) -> None:
        self._schema = schema
        self._rollouts = rollouts
        self._drift = drift
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

    async def CreateRollout(
        self, request: pb.CreateRolloutRequest, context: Context
    ) -> pb.CreateRolloutResponse:
        found = await self._rollouts.create(request.request_id, rollouts_wire.plan(request))
        return pb.CreateRolloutResponse(rollout=rollouts_wire.rollout(found))

    async def GetRollout(
        self, request: pb.GetRolloutRequest, context: Context
    ) -> pb.GetRolloutResponse:
        async with self._management.connection() as connection:
            found = await rollouts.find(connection, request.rollout_id)
        if found is None:
            raise RolloutNotFound(request.rollout_id)
        return pb.GetRolloutResponse(rollout=rollouts_wire.rollout(found))

    async def ListRollouts(
        self, request: pb.ListRolloutsRequest, context: Context
    ) -> pb.ListRolloutsResponse:
        async with self._management.connection() as connection:
            page = await rollouts.page(connection, request.page_size, request.page_token)
        return pb.ListRolloutsResponse(
            rollouts=map(rollouts_wire.rollout, page.items), next_page_token=page.next_token
        )

    async def ListRolloutTenants(
        self, request: pb.ListRolloutTenantsRequest, context: Context
    ) -> pb.ListRolloutTenantsResponse:
        page = await self._rollout_tenants(request)
        return pb.ListRolloutTenantsResponse(
            tenants=map(rollouts_wire.tenant, page.items), next_page_token=page.next_token
        )

    async def PauseRollout(
        self, request: pb.PauseRolloutRequest, context: Context
    ) -> pb.PauseRolloutResponse:
        found = await self._rollouts.pause(request.rollout_id)
        return pb.PauseRolloutResponse(rollout=rollouts_wire.rollout(found))

    async def ResumeRollout(
        self, request: pb.ResumeRolloutRequest, context: Context
    ) -> pb.ResumeRolloutResponse:
        budget = request.failure_budget if request.HasField("failure_budget") else None
        found = await self._rollouts.resume(request.rollout_id, budget)
        return pb.ResumeRolloutResponse(rollout=rollouts_wire.rollout(found))

    async def CheckDrift(
        self, request: pb.CheckDriftRequest, context: Context
    ) -> AsyncGenerator[pb.CheckDriftResponse]:
        looked_at = await self._drift.tenants(request.tenant_id)
        yield pb.CheckDriftResponse(tenant_count=len(looked_at))
        async with aclosing(self._drift.compare(looked_at)) as found:
            async for one in found:
                drift = drift_wire.tenant_drift(one)
                yield pb.CheckDriftResponse(tenant_count=len(looked_at), drift=drift)

    async def _rollout_tenants(
        self, request: pb.ListRolloutTenantsRequest
    ) -> paging.Page[RolloutTenant]:
        covered = covered_tenants(current_principal())
        state = rollouts_wire.tenant_state(request.state)
        async with self._management.connection() as connection:
            if await rollouts.find(connection, request.rollout_id) is None:
                raise RolloutNotFound(request.rollout_id)
            return await rollout_tenants.page(
                connection,
                request.rollout_id,
                covered,
                state,
                request.page_size,
                request.page_token,
            )
