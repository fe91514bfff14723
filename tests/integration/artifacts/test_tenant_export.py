"""The objects of a tenant, sent to and taken back from the tenant service."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.support.artifacts_client import MEBIBYTE, acting_for, digest_of, pieces

from nagaya.tenant_data.v1 import tenant_export_service_pb2 as pb
from nagaya.tenant_data.v1 import tenant_export_service_pb2_grpc
from servicekit.errors import DataLoss, DomainError, Forbidden, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable
    from pathlib import Path

    import asyncpg
    import grpc
    from tests.support.artifacts_client import ArtifactsClient

    from artifacts.composition import Composition
    from interceptor.testing import RunningServer


@pytest.fixture
async def channel(server: RunningServer) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel of the workload tenant that acts for acme."""
    async with server.channel(acting_for("acme", server.keys, "tenant")) as channel:
        yield channel


@pytest.fixture
def export(
    channel: grpc.aio.Channel,
) -> tenant_export_service_pb2_grpc.TenantExportServiceStub:
    return tenant_export_service_pb2_grpc.TenantExportServiceStub(channel)


async def _manifest(
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub, snapshot_id: str
) -> list[pb.TenantObject]:
    request = pb.ExportTenantDataRequest(tenant_id="acme", snapshot_id=snapshot_id)
    first, *others = [message async for message in export.ExportTenantData(request)]
    assert first.path_prefix == "storage/acme"
    return [message.object for message in others]


async def _bodies(
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub, keys: Iterable[str]
) -> dict[str, bytes]:
    request = pb.ExportTenantDataRequest(tenant_id="acme", keys=keys)
    found: dict[str, bytes] = {}
    key = ""
    async for message in export.ExportTenantData(request):
        if message.WhichOneof("part") == "object":
            key = message.object.key
            found[key] = b""
        elif message.WhichOneof("part") == "data":
            found[key] += message.data
    return found


async def test_a_manifest_has_the_files_of_its_snapshot_and_their_bytes_can_be_fetched(
    client: ArtifactsClient,
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub,
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    small, large, empty = secrets.token_bytes(3000), secrets.token_bytes(2 * MEBIBYTE + 7), b""
    await client.put_one(small, client.draft("output.json"))
    await client.put_one(small, client.draft("artifacts/copy.bin"))
    await client.put_one(empty, client.draft("artifacts/empty.bin"))
    await client.upload(client.draft("artifacts/large.bin"), large)
    async with database.transaction(isolation="repeatable_read", readonly=True):
        snapshot_id = await database.fetchval("SELECT pg_export_snapshot()")
        await client.put_one(b"later", client.draft("artifacts/later.bin"))

        manifest = await _manifest(export, snapshot_id)

    own = [found for found in manifest if found.key.startswith(client.run_id)]
    assert {found.key.partition("/")[2]: found.digest for found in own} == {
        "draft/output.json": digest_of(small),
        "draft/artifacts/copy.bin": digest_of(small),
        "draft/artifacts/empty.bin": digest_of(empty),
        "draft/artifacts/large.bin": digest_of(large),
    }
    assert [found.digest for found in manifest] == sorted(found.digest for found in manifest)
    bodies = await _bodies(export, [found.key for found in own])
    assert {found.key: (found.digest, found.size_bytes) for found in own} == {
        key: (digest_of(body), len(body)) for key, body in bodies.items()
    }


async def test_bytes_that_only_the_database_has_are_sent_too(
    client: ArtifactsClient,
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub,
    service: Composition,
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    body = secrets.token_bytes(100)
    committed = await client.put_one(body, client.draft("output.json"))
    await service.stored_bodies.flush()
    client.on_disk(committed.path).unlink()
    await database.execute(
        "INSERT INTO artifact_bodies (file_path, body) VALUES ($1, $2)", committed.path, body
    )
    key = committed.path.removeprefix("storage/acme/")

    assert await _bodies(export, [key]) == {key: body}


async def test_a_snapshot_that_is_gone_and_a_file_that_is_not_there_are_refused(
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub,
    database: asyncpg.Connection[asyncpg.Record],
) -> None:
    async with database.transaction(isolation="repeatable_read", readonly=True):
        snapshot_id = await database.fetchval("SELECT pg_export_snapshot()")
    with pytest.raises(InvalidInput, match="no such snapshot"):
        await _manifest(export, snapshot_id)
    with pytest.raises(NotFound):
        await _bodies(export, [f"{uuid4()}/draft/output.json"])
    for key in ("x", "../../etc/passwd", f"{uuid4()}/draft/../../../x", f"{uuid4()}/draft/other"):
        with pytest.raises(InvalidInput):
            await _bodies(export, [key])


async def test_only_the_tenant_service_may_call(server: RunningServer) -> None:
    for workload in ("runs", "llm-gateway"):
        async with server.channel(acting_for("acme", server.keys, workload)) as channel:
            stub = tenant_export_service_pb2_grpc.TenantExportServiceStub(channel)
            with pytest.raises(Forbidden):
                await stub.ImportTenantData(_requests([(f"{uuid4()}/draft/output.json", b"x")]))
    async with server.channel(tenants=["*"], scope="*") as channel:
        stub = tenant_export_service_pb2_grpc.TenantExportServiceStub(channel)
        with pytest.raises(Forbidden):
            await stub.ImportTenantData(_requests([(f"{uuid4()}/draft/output.json", b"x")]))


async def test_objects_are_stored_under_their_keys_though_the_tenant_has_no_row(
    server: RunningServer, objects: Path
) -> None:
    sent = [
        (f"{uuid4()}/draft/artifacts/{n}.bin", secrets.token_bytes(n * 1000)) for n in range(40)
    ]
    sent.append((f"{uuid4()}/draft/output.json", secrets.token_bytes(3 * MEBIBYTE + 1)))
    async with server.channel(acting_for("restored", server.keys, "tenant")) as channel:
        stub = tenant_export_service_pb2_grpc.TenantExportServiceStub(channel)

        answer = await stub.ImportTenantData(_requests(sent, tenant_id="restored"))

    assert answer.object_count == len(sent)
    for key, body in sent:
        assert (objects / "storage" / "restored" / key).read_bytes() == body


@pytest.mark.parametrize("size", [1000, MEBIBYTE + 1])
async def test_an_object_that_is_not_what_was_announced_is_not_stored(
    export: tenant_export_service_pb2_grpc.TenantExportServiceStub, objects: Path, size: int
) -> None:
    key, body = f"{uuid4()}/draft/output.json", secrets.token_bytes(size)
    announced = pb.TenantObject(key=key, digest=digest_of(body), size_bytes=size)
    wrong = bytes([body[0] ^ 1]) + body[1:]
    cases: list[tuple[bytes, type[DomainError]]] = [
        (wrong, DataLoss),
        (body[:-1], InvalidInput),
        (body + b"x", InvalidInput),
    ]
    for came, refusal in cases:
        with pytest.raises(refusal):
            await export.ImportTenantData(_announced(announced, came))
        assert not (objects / "storage" / "acme" / key).exists()


async def _announced(
    announced: pb.TenantObject, body: bytes
) -> AsyncIterator[pb.ImportTenantDataRequest]:
    yield pb.ImportTenantDataRequest(tenant_id="acme", object=announced)
    for piece in pieces(body, MEBIBYTE):
        yield pb.ImportTenantDataRequest(data=piece)


async def _requests(
    sent: Iterable[tuple[str, bytes]], tenant_id: str = "acme"
) -> AsyncIterator[pb.ImportTenantDataRequest]:
    yield pb.ImportTenantDataRequest(tenant_id=tenant_id)
    for key, body in sent:
        found = pb.TenantObject(key=key, digest=digest_of(body), size_bytes=len(body))
        yield pb.ImportTenantDataRequest(object=found)
        for piece in pieces(body, MEBIBYTE):
            yield pb.ImportTenantDataRequest(data=piece)
