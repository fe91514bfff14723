"""What artifacts keeps of a tenant: shown to the tenant service, and removed for ever."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from tests.support.artifacts_client import acting_for

from nagaya.tenant_data.v1 import tenant_data_service_pb2 as pb
from nagaya.tenant_data.v1 import tenant_data_service_pb2_grpc
from servicekit.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import grpc
    from tests.support.artifacts_client import ArtifactsClient

    from artifacts.object_store.client import ObjectStore
    from interceptor.testing import RunningServer

OBJECTS = "objects of the bucket storage"
UPLOADS = "multipart uploads of the bucket storage"
ROWS = "rows of artifacts_pending_work in the management database"
GONE = "gone-tenant"


@pytest.fixture
async def channel(server: RunningServer) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel of the workload tenant that acts for a tenant that has no database."""
    async with server.channel(acting_for(GONE, server.keys, "tenant")) as channel:
        yield channel


@pytest.fixture
def data_service(
    channel: grpc.aio.Channel,
) -> tenant_data_service_pb2_grpc.TenantDataServiceStub:
    return tenant_data_service_pb2_grpc.TenantDataServiceStub(channel)


async def found(
    data_service: tenant_data_service_pb2_grpc.TenantDataServiceStub, tenant_id: str = GONE
) -> dict[str, int]:
    request = pb.InspectTenantDataRequest(tenant_id=tenant_id)
    stores = (await data_service.InspectTenantData(request)).stores
    assert all(store.method for store in stores)
    return {store.store: store.found for store in stores}


def holders(folder: Path, text: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text in file.read_bytes()]


async def test_all_of_a_tenant_is_removed_and_nothing_of_others(
    data_service: tenant_data_service_pb2_grpc.TenantDataServiceStub,
    object_store: ObjectStore,
    objects: Path,
) -> None:
    canary = secrets.token_hex(16).encode()
    for number in range(20):
        await object_store.put(f"{GONE}/run/{number}/output.json", canary)
    await object_store.put(f"{GONE}-2/run/output.json", b"another tenant's")

    assert await found(data_service) == {OBJECTS: 20, UPLOADS: 0, ROWS: 0}
    request = pb.PurgeTenantDataRequest(tenant_id=GONE)
    progress = [(one.store, one.removed) async for one in data_service.PurgeTenantData(request)]

    assert progress[0] == (OBJECTS, 0)
    assert (OBJECTS, 20) in progress
    assert await found(data_service) == {OBJECTS: 0, UPLOADS: 0, ROWS: 0}
    assert not holders(objects, canary)
    assert holders(objects, b"another tenant's")
    again = [one.removed async for one in data_service.PurgeTenantData(request)]
    assert not any(again)


async def test_rows_of_pending_work_are_removed(
    client: ArtifactsClient,
    server: RunningServer,
) -> None:
    await client.put_one(b"x" * 10, client.draft("output.json"))
    async with server.channel(acting_for("acme", server.keys, "tenant")) as channel:
        acme = tenant_data_service_pb2_grpc.TenantDataServiceStub(channel)
        await acme.ScheduleTenantData(pb.ScheduleTenantDataRequest(tenant_id="acme"))
        assert (await found(acme, "acme"))[ROWS] == 2
        request = pb.PurgeTenantDataRequest(tenant_id="acme")
        removed = {one.store: one.removed async for one in acme.PurgeTenantData(request)}
        assert removed[ROWS] == 2
        assert set((await found(acme, "acme")).values()) == {0}


async def test_whose_data_there_is_can_be_listed(
    data_service: tenant_data_service_pb2_grpc.TenantDataServiceStub, object_store: ObjectStore
) -> None:
    await object_store.put(f"{GONE}/run/output.json", b"x")
    await object_store.put("_probe/x", b"x")
    listed: dict[str, set[str]] = {}
    async for one in data_service.ListTenantData(pb.ListTenantDataRequest()):
        listed.setdefault(one.store, set()).update(one.tenant_ids)

    assert listed.keys() == {OBJECTS, UPLOADS, ROWS}
    assert GONE in listed[OBJECTS]
    assert "_probe" not in listed[OBJECTS]


async def test_what_the_store_does_not_show_is_said(
    data_service: tenant_data_service_pb2_grpc.TenantDataServiceStub,
) -> None:
    request = pb.InspectTenantDataRequest(tenant_id=GONE)
    stores = (await data_service.InspectTenantData(request)).stores
    unproven = {store.store: list(store.unproven) for store in stores}

    # rclone has no versions, and lists an upload only to who knows its whole name.
    assert "does not list versions" in unproven[OBJECTS][1]
    assert unproven[UPLOADS] == ["The object store does not list multipart uploads by folder."]
    assert unproven[ROWS] == []


async def test_only_the_tenant_service_may_ask(server: RunningServer) -> None:
    request = pb.PurgeTenantDataRequest(tenant_id="acme")
    for workload in ("runs", "llm-gateway", "artifacts"):
        async with server.channel(acting_for("acme", server.keys, workload)) as channel:
            stub = tenant_data_service_pb2_grpc.TenantDataServiceStub(channel)
            with pytest.raises(Forbidden):
                [one async for one in stub.PurgeTenantData(request)]
