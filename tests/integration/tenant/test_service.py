"""The gRPC face, called as people and services call it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.calls import creation, tenants

from dataplane import audit
from dataplane.migrations import Migration, publish
from dataplane.tenants import connect_data_plane
from nagaya.tenant.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    connection_service_pb2,
    connection_service_pb2_grpc,
    schema_pb2,
    schema_service_pb2,
    schema_service_pb2_grpc,
    tenant_pb2,
    tenant_service_pb2,
)
from servicekit.call import on_behalf_of
from servicekit.errors import AlreadyExists, Conflict, Forbidden, InvalidInput, NotFound
from tenant.app.startup import own_migrations
from tenant.config import MIGRATIONS
from tenant.domain.migrations import MigrationTarget

if TYPE_CHECKING:
    from interceptor.testing import RunningServer
    from tenant.composition import Composition


def migration(number: int, sql: str) -> schema_pb2.Migration:
    return schema_pb2.Migration(
        number=number, name="file", target=schema_pb2.MIGRATION_TARGET_TENANT, sql=sql
    )


async def test_a_tenant_is_created_shown_suspended_and_resumed(server: RunningServer) -> None:
    stub = tenants(server)

    created = (await stub.CreateTenant(creation("acme"))).tenant
    shown = (await stub.GetTenant(tenant_service_pb2.GetTenantRequest(tenant_id="acme"))).tenant
    suspended = await stub.SuspendTenant(tenant_service_pb2.SuspendTenantRequest(tenant_id="acme"))
    resumed = await stub.ResumeTenant(tenant_service_pb2.ResumeTenantRequest(tenant_id="acme"))

    assert created == shown
    assert (created.name, created.server_id) == ("Acme", "main")
    assert created.database.startswith("t_")
    assert [tenant.state for tenant in (created, suspended.tenant, resumed.tenant)] == [
        tenant_pb2.TENANT_STATE_ACTIVE,
        tenant_pb2.TENANT_STATE_SUSPENDED,
        tenant_pb2.TENANT_STATE_ACTIVE,
    ]
    assert [tenant.generation for tenant in (created, suspended.tenant, resumed.tenant)] == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    "tenant_id", ["", "a", "A", "Acme", "1acme", "acme-", "acme_1", "acme;drop", "x" * 41, "長屋"]
)
async def test_a_tenant_id_of_bad_shape_is_refused(server: RunningServer, tenant_id: str) -> None:
    with pytest.raises(InvalidInput) as error:
        await tenants(server).CreateTenant(creation(tenant_id))

    assert error.value.reason == "ERROR_REASON_REQUEST_INVALID"


async def test_refusals_carry_their_reason_and_a_hint(server: RunningServer) -> None:
    stub = tenants(server)
    await stub.CreateTenant(creation("acme"))

    with pytest.raises(AlreadyExists) as exists:
        await stub.CreateTenant(creation("acme", "r2"))
    with pytest.raises(AlreadyExists) as reused:
        await stub.CreateTenant(creation("globex", "r1"))
    with pytest.raises(NotFound) as missing:
        await stub.GetTenant(tenant_service_pb2.GetTenantRequest(tenant_id="globex"))

    refusals = [exists.value, reused.value, missing.value]
    assert [(refusal.reason, refusal.metadata) for refusal in refusals] == [
        ("ERROR_REASON_TENANT_EXISTS", {"tenant_id": "acme"}),
        ("ERROR_REASON_REQUEST_ID_REUSED", {"request_id": "r1"}),
        ("ERROR_REASON_TENANT_NOT_FOUND", {"tenant_id": "globex"}),
    ]
    assert all(refusal.domain == "tenant.nagaya.dev" for refusal in refusals)
    assert "ListTenants" in missing.value.message


async def test_people_see_only_the_tenants_of_their_token(server: RunningServer) -> None:
    for n, name in enumerate(("acme", "globex", "initech")):
        await tenants(server).CreateTenant(creation(name, f"r{n}"))
    stub = tenants(server, tenants=["acme", "initech"])
    request = tenant_service_pb2.ListTenantsRequest(page_size=1)

    first = await stub.ListTenants(request)
    request.page_token = first.next_page_token
    second = await stub.ListTenants(request)

    listed = [tenant.tenant_id for page in (first, second) for tenant in page.tenants]
    assert listed == ["acme", "initech"]
    assert not second.next_page_token
    with pytest.raises(Forbidden):
        await stub.GetTenant(tenant_service_pb2.GetTenantRequest(tenant_id="globex"))
    with pytest.raises(Forbidden):
        await tenants(server, scope="tenants.read").CreateTenant(creation("hooli"))


async def test_only_services_resolve_connections_and_only_for_their_tenant(
    server: RunningServer,
) -> None:
    await tenants(server).CreateTenant(creation("acme"))
    request = connection_service_pb2.ResolveConnectionRequest(tenant_id="acme")
    stub = connection_service_pb2_grpc.ConnectionServiceStub

    with on_behalf_of(tenant_id="acme"):
        runs = await stub(server.workload_channel("runs")).ResolveConnection(request)
        assert runs.connection.user.endswith("_runs")
        with pytest.raises(Forbidden):
            await stub(server.workload_channel("tenant")).ResolveConnection(request)
        with pytest.raises(Conflict) as unpublished:
            await stub(server.workload_channel("llm-gateway")).ResolveConnection(request)
    with on_behalf_of(tenant_id="globex"), pytest.raises(Forbidden):
        await stub(server.workload_channel("runs")).ResolveConnection(request)
    with pytest.raises(Forbidden):
        await stub(server.channel()).ResolveConnection(request)
    assert unpublished.value.reason == "ERROR_REASON_MIGRATIONS_UNPUBLISHED"


async def test_services_publish_for_themselves(server: RunningServer) -> None:
    stub = schema_service_pb2_grpc.SchemaServiceStub
    request = schema_service_pb2.PublishMigrationsRequest(
        migrations=[migration(1, "CREATE TABLE calls (id INT)")]
    )

    published = await stub(server.workload_channel("llm-gateway")).PublishMigrations(request)
    assert (published.published_count, published.current_tenant_count) == (1, 0)
    for channel in (server.channel(), server.workload_channel("tenant")):
        with pytest.raises(Forbidden):
            await stub(channel).PublishMigrations(request)
    request.migrations[0].sql = "SELECT 1;\nCOMMIT"
    with pytest.raises(InvalidInput) as invalid:
        await stub(server.workload_channel("llm-gateway")).PublishMigrations(request)
    assert invalid.value.metadata == {"number": "1", "line": "2"}


async def test_the_status_of_the_schema_is_shown_by_tenant_and_service(
    server: RunningServer,
) -> None:
    for n, name in enumerate(("acme", "globex")):
        await tenants(server).CreateTenant(creation(name, f"r{n}"))
    stub = schema_service_pb2_grpc.SchemaServiceStub(server.channel())
    request = schema_service_pb2.GetSchemaStatusRequest(page_size=4)

    found: list[schema_pb2.SchemaStatus] = []
    while True:
        page = await stub.GetSchemaStatus(request)
        found += page.statuses
        request.page_token = page.next_page_token
        if not request.page_token:
            break

    own = own_migrations(MIGRATIONS)
    last = {target: sum(one.target is target for one in own) for target in MigrationTarget}
    numbers = {"artifacts": 1, "runs": 1, "tenant": last[MigrationTarget.TENANT]}
    assert [(one.tenant_id, one.service, one.applied_number) for one in found] == [
        ("", "tenant", last[MigrationTarget.MANAGEMENT]),
        *((name, *entry) for name in ("acme", "globex") for entry in numbers.items()),
    ]
    assert all(one.published_number == one.applied_number and not one.failure for one in found)
    mine = schema_service_pb2_grpc.SchemaServiceStub(server.channel(tenants=["globex"]))
    only = await mine.GetSchemaStatus(schema_service_pb2.GetSchemaStatusRequest())
    assert {one.tenant_id for one in only.statuses} == {"globex"}


async def test_audit_logs_are_listed_newest_first(
    server: RunningServer, service: Composition
) -> None:
    await tenants(server, user_id="grace").CreateTenant(creation("acme"))
    async with service.tenant_pools.transaction("acme") as connection:
        for number in range(3):
            await audit.append(connection, "prompt.create", "prompt", str(number), {"n": number})
    stub = audit_service_pb2_grpc.AuditServiceStub(server.channel(tenants=["acme"]))
    request = audit_service_pb2.ListAuditLogsRequest(tenant_id="acme", page_size=3)

    first = await stub.ListAuditLogs(request)
    request.page_token = first.next_page_token
    second = await stub.ListAuditLogs(request)

    entries = [*first.audit_logs, *second.audit_logs]
    assert [entry.sequence for entry in entries] == [4, 3, 2, 1]
    assert dict(entries[0].details) == {"n": 2}
    assert (entries[-1].user_id, entries[-1].action) == ("grace", "tenant.create")
    assert entries[-1].database_role.endswith("_tenant")
    assert not second.next_page_token


async def test_the_management_databases_log_needs_a_token_for_all_tenants(
    server: RunningServer,
) -> None:
    await tenants(server, user_id="grace").CreateTenant(creation("acme"))
    stub = audit_service_pb2_grpc.AuditServiceStub
    request = audit_service_pb2.ListAuditLogsRequest()

    newest = (await stub(server.channel()).ListAuditLogs(request)).audit_logs[0]
    assert (newest.user_id, newest.action, newest.resource_id) == ("grace", "tenant.create", "acme")
    with pytest.raises(Forbidden):
        await stub(server.channel(tenants=["acme"])).ListAuditLogs(request)


async def test_the_log_of_a_tenant_that_cannot_be_entered_is_refused(server: RunningServer) -> None:
    stub = audit_service_pb2_grpc.AuditServiceStub(server.channel())
    request = audit_service_pb2.ListAuditLogsRequest(tenant_id="acme")

    with pytest.raises(NotFound) as missing:
        await stub.ListAuditLogs(request)
    await tenants(server).CreateTenant(creation("acme"))
    await asyncio.sleep(1.1)  # a refusal stands for a second
    await stub.ListAuditLogs(request)
    await tenants(server).SuspendTenant(tenant_service_pb2.SuspendTenantRequest(tenant_id="acme"))
    with pytest.raises(Conflict) as suspended:
        await stub.ListAuditLogs(request)

    assert missing.value.reason == "ERROR_REASON_TENANT_NOT_FOUND"
    assert suspended.value.reason == "ERROR_REASON_TENANT_NOT_READY"


async def test_a_service_works_over_its_own_pools(server: RunningServer) -> None:
    """The whole way of a service: publish, follow the tenants, work in their databases."""
    channel = server.workload_channel("llm-gateway")
    calls = "CREATE TABLE calls (id BIGSERIAL PRIMARY KEY)"
    files = (Migration(1, "calls", "tenant", (("runs", 1),), calls, ""),)
    await publish(channel, "llm-gateway", files)
    await tenants(server).CreateTenant(creation("acme"))

    async with connect_data_plane(channel, "llm-gateway") as data:
        changed = asyncio.Event()
        data.directory.on_change(lambda _: changed.set())
        await data.ready()
        async with asyncio.timeout(50):  # of a tenant made a moment ago one may hear a moment later
            while data.directory.active() != ("acme",):
                await changed.wait()
                changed.clear()
        async with data.tenants.transaction("acme") as connection:
            await connection.execute("INSERT INTO calls DEFAULT VALUES")
            await audit.append(connection, "call.create", "call", "1")
        async with data.tenants.connection("acme") as connection:
            assert await connection.fetchval("SELECT count(*) FROM calls") == 1
            assert await connection.fetchval("SELECT current_user") == (
                await connection.fetchval("SELECT current_database()") + "_llm_gateway"
            )
