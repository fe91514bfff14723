from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from authentication.testing import verifier_of
from dataplane.migrations import MigrationMalformed, least_number, publish, read_migrations
from interceptor.server import Binding, Server
from nagaya.tenant.v1 import schema_pb2, schema_service_pb2
from nagaya_local.machine.ports import free_port
from servicekit.channel import open_channel
from servicekit.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

    from interceptor.server import Context
    from servicekit.testing import Keys


def write(folder: Path, **files: str) -> Path:
    for name, sql in files.items():
        (folder / f"{name[1:]}.sql").write_text(sql)
    return folder


def test_files_are_read_by_target_and_number(tmp_path: Path) -> None:
    artifacts = "-- Files of runs.\n-- target: tenant\n-- requires: runs 1\n\nCREATE TABLE a ();\n"
    write(
        tmp_path,
        _0002_more="-- target: tenant\nSELECT 2;",
        _0001_artifacts=artifacts,
        _0001_work="-- target: management\nSELECT 1;",
    )

    work, first, second = read_migrations(tmp_path)

    assert (work.target, work.number, work.name) == ("management", 1, "work")
    assert (first.target, first.number, first.requires) == ("tenant", 1, (("runs", 1),))
    assert (second.number, second.requires) == (2, ())
    assert first.sql == artifacts
    assert first.digest == hashlib.sha256(artifacts.encode()).hexdigest()


def test_a_file_for_both_targets_is_counted_for_each(tmp_path: Path) -> None:
    shared = "-- target: management\n-- target: tenant\nSELECT 1;"
    write(tmp_path, _0001_shared=shared, _0002_more="-- target: tenant\nSELECT 2;")

    found = read_migrations(tmp_path)

    assert [(m.target, m.number, m.name) for m in found] == [
        ("management", 1, "shared"),
        ("tenant", 1, "shared"),
        ("tenant", 2, "more"),
    ]
    assert found[0].digest == found[1].digest == hashlib.sha256(shared.encode()).hexdigest()


def test_a_service_needs_its_last_file_but_for_those_it_can_do_without(tmp_path: Path) -> None:
    assert least_number(read_migrations(tmp_path)) == 0
    write(
        tmp_path,
        _0001_work="-- target: management\n",
        _0002_work="-- target: management\n",
        _0001_runs="-- target: tenant\n",
    )
    assert least_number(read_migrations(tmp_path)) == 1
    optional = "-- target: tenant\n-- transaction: none\n-- behind: served\nDROP INDEX"
    write(tmp_path, _0002_index=optional)
    assert least_number(read_migrations(tmp_path)) == 1
    write(tmp_path, _0003_more="-- target: tenant\n")
    assert least_number(read_migrations(tmp_path)) == 3


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"_0001_a": "SELECT 1;"}, "0001_a.sql: the header"),
        ({"_0001_a": "-- target: both\n"}, "0001_a.sql: the header"),
        ({"_0001_a": "-- target: tenant\n-- target: tenant\n"}, "0001_a.sql: the header"),
        ({"_0001_a": "-- target: tenant\n-- requires: runs\n"}, "0001_a.sql: `-- requires: runs`"),
        ({"_0001_a": "-- target: tenant\n-- transaction: x\n"}, "`-- transaction` can only be"),
        ({"_0001_a": "-- target: tenant\n-- behind: no\n"}, "`-- behind` can only be `served`"),
        ({"_1_a": "-- target: tenant\n"}, "1_a.sql: the name"),
        ({"_0002_a": "-- target: tenant\n"}, r"the numbers for tenant are \[2\]"),
        (
            {"_0001_a": "-- target: tenant\n", "_0001_b": "-- target: tenant\n"},
            r"the numbers for tenant are \[1, 1\]",
        ),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    with pytest.raises(MigrationMalformed, match=complaint):
        read_migrations(write(tmp_path, **files))


class Schemas:
    def __init__(self) -> None:
        self.published: list[schema_service_pb2.PublishMigrationsRequest] = []
        self.refusal: Conflict | None = None

    async def PublishMigrations(
        self, request: schema_service_pb2.PublishMigrationsRequest, context: Context
    ) -> schema_service_pb2.PublishMigrationsResponse:
        if self.refusal is not None:
            raise self.refusal
        self.published.append(request)
        return schema_service_pb2.PublishMigrationsResponse(published_count=1)

    @property
    def binding(self) -> Binding:
        """The one method of the service that publishing needs."""
        handler = grpc.unary_unary_rpc_method_handler(
            self.PublishMigrations,
            request_deserializer=schema_service_pb2.PublishMigrationsRequest.FromString,
            response_serializer=schema_service_pb2.PublishMigrationsResponse.SerializeToString,
        )
        return Binding("nagaya.tenant.v1.SchemaService", {"PublishMigrations": handler}, 1 << 20)


async def test_migrations_are_published_when_the_tenant_service_comes(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, _0001_a="-- target: tenant\n-- requires: artifacts 3\nSELECT 1;")
    port, schemas = free_port(), Schemas()
    config = replace(keys.config(), listen_port=port)
    async with open_channel(f"127.0.0.1:{port}", keys.signer("runs")) as channel:
        publishing = asyncio.create_task(publish(channel, "runs", read_migrations(tmp_path)))
        async with asyncio.timeout(20):
            while "the migrations cannot be published yet" not in caplog.messages:
                await asyncio.wait((publishing,), timeout=0.05)
        server = Server(config, [schemas.binding], verifier_of(keys))
        await server.start()
        await publishing
        schemas.refusal = Conflict("number 1 has another digest")
        with pytest.raises(Conflict):
            await publish(channel, "runs", read_migrations(tmp_path))
        await server.stop(0.0)

    (migration,) = schemas.published[0].migrations
    assert (migration.number, migration.name) == (1, "a")
    assert migration.target == schema_pb2.MIGRATION_TARGET_TENANT
    assert [(r.service, r.number) for r in migration.requires] == [("artifacts", 3)]
