"""Tenants leave one installation and come to another one, with other names for everything."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import secrets
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tests.support.bundle_mutations import MUTATIONS
from tests.support.installation import Installation, Place, another_provisioner, installed
from tests.support.tenant_rows import content
from tests.support.transfers import (
    begin_import,
    bundle_of,
    create,
    downloaded,
    ended,
    exported,
    filled,
    imported,
    uploaded,
)

from bundle import signature
from bundle.source import TarSource
from bundle.verify import verify
from nagaya.tenant.v1 import (
    operation_pb2,
    operation_service_pb2,
    tenant_pb2,
    transfer_service_pb2,
    transfer_service_pb2_grpc,
)
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.s3 import S3Server
from servicekit.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from servicekit.testing import Keys
from tenant.config import management_address
from tenant.transfer.tables import OF_THE_INSTALLATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition

MUTATED = int(os.environ.get("NAGAYA_TEST_MUTATIONS", "1"))  # how often each damage is tried


@pytest.fixture(scope="module")
def stores(parts_folder: Path) -> Iterator[tuple[S3Server, S3Server]]:
    servers = []
    with contextlib.ExitStack() as stack:
        for name in ("first-objects", "second-objects"):
            folder = parts_folder / name
            folder.mkdir()
            server = S3Server(folder / "s3", folder / "keys.json", free_port(), stale_ms=50)
            stack.enter_context(running_from_sync(server, folder / "s3.log"))
            servers.append(server)
        yield servers[0], servers[1]


@pytest.fixture
async def source(
    tmp_path: Path, postgres: PostgresServer, management_url: str, stores: tuple[S3Server, S3Server]
) -> AsyncIterator[Installation]:
    bucket = f"source-{secrets.token_hex(4)}"
    place = _place(tmp_path / "source", postgres, management_url, stores[0], bucket)
    async with installed(place) as installation:
        yield installation


@pytest.fixture
async def target_place(
    tmp_path: Path, second_postgres: PostgresServer, stores: tuple[S3Server, S3Server]
) -> Place:
    url = await another_provisioner(second_postgres)
    bucket = f"target-{secrets.token_hex(4)}"
    return _place(tmp_path / "target", second_postgres, url, stores[1], bucket)


@pytest.fixture
async def target(target_place: Place) -> AsyncIterator[Installation]:
    async with installed(target_place) as installation:
        yield installation


def _place(folder: Path, postgres: PostgresServer, url: str, s3: S3Server, bucket: str) -> Place:
    folder.mkdir()
    return Place(folder, postgres, url, s3, s3._folder, bucket, Keys(folder))


async def test_a_tenant_comes_to_another_installation_as_it_was(
    source: Installation, target: Installation
) -> None:
    old, files = await filled(source)
    await create(target, "globex")
    before = await source.superuser(old.database)

    data = await bundle_of(source)
    expected = await content(before, without=OF_THE_INSTALLATION)
    new = await imported(target, source, data)

    assert new.state == tenant_pb2.TENANT_STATE_ACTIVE
    assert (new.name, new.path_prefix) == ("Acme & Söhne", "storage/acme")
    after = await target.superuser(new.database)
    assert await content(after, without=OF_THE_INSTALLATION) == expected
    assert await after.fetchval("SELECT tenant_id FROM tenant_identity") == "acme"
    assert await target.noted_head(new) == await after.fetchval("SELECT sequence FROM audit_head")
    assert target.place.object_files("acme") == files
    sql = "SELECT service, number, name, digest FROM schema_migrations ORDER BY 1, 2"
    assert [*await before.fetch(sql)] == [*await after.fetch(sql)]
    assert not list(target.place.folder.glob("bundles/uploads/*"))
    await before.close()
    await after.close()


async def test_a_bundle_is_verified_without_a_server(source: Installation, tmp_path: Path) -> None:
    _, files = await filled(source)
    tar = tmp_path / "acme.tar"
    tar.write_bytes(await bundle_of(source))
    keys = signature.keys(source.place.keys.jwks_file.read_bytes())

    found = verify(TarSource(tar), lambda raw, signed: signature.check(keys, raw, signed)).manifest

    assert found.objects.count == len(files)
    assert found.audit.sequence >= 2
    assert {table.name for table in found.tables} >= {"prompts", "pipelines", "step_overrides"}


async def test_a_download_goes_on_anywhere(source: Installation) -> None:
    await filled(source)
    operation = await exported(source)
    size, whole = await downloaded(source, operation.result["bundle_id"])

    for offset in (1, secrets.randbelow(size), size):
        assert await downloaded(source, operation.result["bundle_id"], offset) == (
            size,
            whole[offset:],
        )


async def test_an_upload_goes_on_where_it_broke_off(
    source: Installation, target: Installation
) -> None:
    await filled(source)
    data = await bundle_of(source)
    half = len(data) // 2
    bundle_id = str(uuid4())

    await uploaded(target, data[:half], bundle_id, size=len(data))
    request = transfer_service_pb2.GetBundleUploadRequest(bundle_id=bundle_id)
    found = await target.transfers.GetBundleUpload(request)
    assert (found.received_bytes, found.complete) == (half, False)
    with pytest.raises(NotFound):
        await begin_import(target, source, bundle_id)
    with pytest.raises(InvalidInput):
        await uploaded(target, data, bundle_id, offset=half + 1)

    await uploaded(target, data, bundle_id, offset=half)
    found = await target.transfers.GetBundleUpload(request)
    assert (found.received_bytes, found.complete) == (len(data), True)
    (path,) = target.place.folder.glob("bundles/uploads/*")
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest()
    with pytest.raises(InvalidInput):
        await uploaded(target, data + b"x", bundle_id, size=len(data))
    assert not list(target.place.folder.glob("bundles/uploads/*"))


async def test_a_tenant_is_imported_under_another_id_beside_the_first(
    source: Installation,
) -> None:
    old, files = await filled(source)
    data = await bundle_of(source)
    with pytest.raises(AlreadyExists):
        await begin_import(source, source, await uploaded(source, data))

    new = await imported(source, source, data, "acme-2")

    before, after = await source.superuser(old.database), await source.superuser(new.database)
    without = OF_THE_INSTALLATION
    assert await content(after, without=without) == await content(before, without=without)
    assert await after.fetchval("SELECT tenant_id FROM tenant_identity") == "acme-2"
    assert new.path_prefix == "storage/acme"
    assert source.place.object_files("acme-2") == files == source.place.object_files("acme")
    await before.close()
    await after.close()


async def test_runs_in_flight_are_refused_or_waited_for(source: Installation) -> None:
    tenant, _ = await filled(source)
    connection = await source.superuser(tenant.database)
    run = await connection.fetchval("SELECT id FROM runs LIMIT 1")
    await connection.execute("UPDATE runs SET status = 'running' WHERE id = $1", run)

    refused = await exported(source)
    assert refused.state == operation_pb2.OPERATION_STATE_FAILED
    assert refused.error.reason == "ERROR_REASON_RUNS_IN_FLIGHT"
    too_late = await exported(source, drain=True, drain_seconds=1)
    assert too_late.error.reason == "ERROR_REASON_RUNS_IN_FLIGHT"
    assert not list(source.place.folder.glob("bundles/exports/*/*"))

    waiting = asyncio.create_task(exported(source, drain=True, drain_seconds=60))
    await waits_for_runs(source)
    await connection.execute("UPDATE runs SET status = 'completed' WHERE id = $1", run)
    assert (await waiting).state == operation_pb2.OPERATION_STATE_DONE
    await connection.close()


async def waits_for_runs(installation: Installation) -> None:
    request = operation_service_pb2.ListOperationsRequest(tenant_id="acme", page_size=1)
    while True:
        (last,) = (await installation.operations.ListOperations(request)).operations
        if last.progress.unit == "runs in flight":
            return
        await asyncio.sleep(0.05)


async def test_a_held_run_is_exported(source: Installation, target: Installation) -> None:
    tenant, _ = await filled(source)
    connection = await source.superuser(tenant.database)
    await connection.execute("UPDATE runs SET status = 'pending', held = true")
    await connection.close()

    new = await imported(target, source, await bundle_of(source))

    after = await target.superuser(new.database)
    assert await after.fetchval("SELECT count(*) FROM runs WHERE held") == 3
    await after.close()


async def test_what_nobody_who_is_trusted_has_signed_is_refused(
    source: Installation, target: Installation
) -> None:
    await filled(source)
    data = await bundle_of(source)
    before = await target.traces()

    begun = await begin_import(target, source, await uploaded(target, data), trusted=False)
    operation = await ended(target, begun)

    assert operation.error.reason == "ERROR_REASON_BUNDLE_INVALID"
    assert "JWKS" in operation.error.message
    assert await target.traces() == before


async def test_damaged_bundles_are_refused_and_leave_nothing(
    source: Installation, target: Installation
) -> None:
    await filled(source)
    data = await bundle_of(source)
    before = await target.traces()
    for mutation in MUTATIONS * MUTATED:
        seed = secrets.randbits(32)
        damaged = mutation.damage(data, random.Random(seed))  # noqa: S311 - repeatable
        if damaged == data:
            continue
        begun = await begin_import(target, source, await uploaded(target, damaged))
        operation = await ended(target, begun)
        where = f"{mutation.name}, seed {seed}"
        assert operation.error.reason == "ERROR_REASON_BUNDLE_INVALID", where
        assert await target.traces() == before, where


async def test_a_bundle_of_other_migrations_is_refused(
    source: Installation, target: Installation
) -> None:
    await filled(source)
    data = await bundle_of(source)
    management = await target.superuser(management_address(target.place.management_url).database)
    await management.execute(
        "UPDATE published_migrations SET digest = repeat('0', 64) WHERE service = 'runs'"
    )
    await management.close()
    before = await target.traces()

    operation = await ended(
        target, await begin_import(target, source, await uploaded(target, data))
    )

    assert operation.error.reason == "ERROR_REASON_BUNDLE_UNSUITABLE"
    assert {trace for trace in await target.traces() - before if ".tar" not in trace} == set()


async def test_transfers_need_a_folder(service: Composition, server: RunningServer) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    request = transfer_service_pb2.CreateExportRequest(tenant_id="acme", request_id="r2")
    stub = transfer_service_pb2_grpc.TransferServiceStub(server.channel())
    with pytest.raises(Conflict) as refused:
        await stub.CreateExport(request)
    assert refused.value.reason == "ERROR_REASON_TRANSFERS_NOT_CONFIGURED"
