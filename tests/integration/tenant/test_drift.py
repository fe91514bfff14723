"""What differs between a tenant's database and what its migrations make is named."""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import ARTIFACTS, RUNS, migration

from nagaya.tenant.v1 import schema_service_pb2, schema_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition

TENANTS = int(os.environ.get("NAGAYA_TEST_DRIFT_TENANTS", "12"))
"""Among how many tenants the altered ones are found; an eighth of them is."""
OBJECTS = migration(
    "runs",
    2,
    """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE DOMAIN positive AS INT CHECK (VALUE > 0);
    CREATE TABLE things (
        id   BIGSERIAL PRIMARY KEY,
        name TEXT NOT NULL DEFAULT 'x' CHECK (name <> ''),
        mood mood,
        run  UUID REFERENCES runs (id),
        size positive
    );
    CREATE INDEX things_name ON things (name);
    CREATE VIEW good_things AS SELECT id FROM things WHERE mood = 'good';
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER noted BEFORE UPDATE ON things FOR EACH ROW EXECUTE FUNCTION note();
    ALTER TABLE things ENABLE ROW LEVEL SECURITY;
    CREATE POLICY all_of_them ON things USING (true);
    """,
)
# What an operator may do by hand, and what is named then: how it differs, kind and name.
ALTERATIONS = [
    ("DROP TABLE things CASCADE", ("missing", "table", "things")),
    ("CREATE TABLE extra (id INT)", ("unexpected", "table", "extra")),
    ("ALTER TABLE things SET (fillfactor = 50)", ("altered", "table", "things")),
    ("ALTER TABLE things DISABLE ROW LEVEL SECURITY", ("altered", "table", "things")),
    ("ALTER TABLE things ADD extra INT", ("unexpected", "column", "things.extra")),
    ("ALTER TABLE things ALTER name TYPE VARCHAR(9)", ("altered", "column", "things.name")),
    ("ALTER TABLE things ALTER name DROP NOT NULL", ("altered", "column", "things.name")),
    ("ALTER TABLE things ALTER name SET DEFAULT 'y'", ("altered", "default", "things.name")),
    ("ALTER TABLE things ALTER name DROP DEFAULT", ("missing", "default", "things.name")),
    (
        "ALTER TABLE things DROP CONSTRAINT things_run_fkey",
        ("missing", "constraint", "things.things_run_fkey"),
    ),
    (
        "ALTER TABLE things DISABLE TRIGGER ALL",
        ("altered", "constraint", "things.things_run_fkey"),
    ),
    ("ALTER DOMAIN positive DROP CONSTRAINT positive_check", ("missing", "constraint", None)),
    ("CREATE INDEX extra ON things (id)", ("unexpected", "index", "extra")),
    ("DROP INDEX things_name", ("missing", "index", "things_name")),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'things_name'::regclass",
        ("altered", "index", "things_name"),
    ),
    ("ALTER TABLE things DISABLE TRIGGER noted", ("altered", "trigger", "things.noted")),
    ("DROP TRIGGER noted ON things", ("missing", "trigger", "things.noted")),
    (
        "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN NULL; END $$",
        ("altered", "function", "note()"),
    ),
    ("ALTER FUNCTION note() SECURITY DEFINER", ("altered", "function", "note()")),
    ("CREATE OR REPLACE VIEW good_things AS SELECT id FROM things", ("altered", "view", None)),
    ("ALTER TYPE mood ADD VALUE 'fair'", ("altered", "type", "mood")),
    ("ALTER SEQUENCE things_id_seq INCREMENT 2", ("altered", "sequence", "things_id_seq")),
    ("GRANT DELETE ON audit_logs TO {D}_runs", ("unexpected", "grant", None)),
    ("GRANT SELECT ON things TO {D}_artifacts", ("unexpected", "grant", None)),
    ("REVOKE INSERT ON things FROM {D}_runs, {T}_runs", ("missing", "grant", None)),
    ("GRANT UPDATE (name) ON things TO PUBLIC", ("unexpected", "grant", None)),
    ("GRANT EXECUTE ON FUNCTION note() TO PUBLIC", ("unexpected", "grant", None)),
    ("GRANT CREATE ON SCHEMA public TO {D}_runs", ("unexpected", "grant", None)),
    ("GRANT CONNECT ON DATABASE {D} TO PUBLIC", ("unexpected", "grant", None)),
    ("GRANT {D}_tenant_mig TO {D}_runs", ("unexpected", "membership", None)),
    ("ALTER ROLE {D}_runs CREATEDB", ("altered", "role", "D_runs")),
    ("ALTER DATABASE {D} SET work_mem = '1GB'", ("unexpected", "setting", "of the database")),
    ("ALTER TABLE things OWNER TO {D}_runs", ("altered", "owner", "of table things")),
    ("ALTER POLICY all_of_them ON things USING (false)", ("altered", "policy", None)),
    ("CREATE SCHEMA extra", ("unexpected", "schema", "extra")),
    (
        "UPDATE schema_migrations SET digest = repeat('0', 64) WHERE service = 'runs'",
        ("altered", "migration", None),
    ),
    ("DROP TABLE schema_migrations", ("missing", "table", "schema_migrations")),
]


@asynccontextmanager
async def superuser(
    postgres: PostgresServer, service: Composition, tenant_id: str
) -> AsyncGenerator[asyncpg.Connection]:
    found = await service.connections.resolve("runs", tenant_id)
    connection = await asyncpg.connect(postgres.superuser_url(found.database))
    yield connection
    await connection.close()


async def drift(server: RunningServer, tenant_id: str = "") -> dict[str, list[tuple[str, ...]]]:
    """Return by tenant what differs: how, and the object's kind and name."""
    stub = schema_service_pb2_grpc.SchemaServiceStub(server.channel())
    found: dict[str, list[tuple[str, ...]]] = {}
    async for response in stub.CheckDrift(
        schema_service_pb2.CheckDriftRequest(tenant_id=tenant_id)
    ):
        if response.HasField("drift"):
            assert not response.drift.unchecked_reason, response.drift
            found[response.drift.tenant_id] = [
                (_KINDS[one.difference], one.kind, one.name) for one in response.drift.differences
            ]
    return found


_KINDS = {1: "missing", 2: "unexpected", 3: "altered"}


async def test_copies_and_migrated_databases_do_not_differ(
    service: Composition, server: RunningServer, postgres: PostgresServer
) -> None:
    await service.tenants.create("copied", "r1", "Copied")
    await service.schema.publish("runs", [RUNS, OBJECTS])
    await service.tenants.create("newer", "r2", "Newer")
    links = migration("artifacts", 2, "ALTER TABLE artifacts ADD size BIGINT")
    await service.schema.publish("artifacts", [ARTIFACTS, links])

    assert await drift(server) == {"copied": [], "newer": []}


async def test_a_tenant_that_is_behind_is_compared_with_what_it_has(
    service: Composition, server: RunningServer, postgres: PostgresServer
) -> None:
    for name in ("acme", "globex"):
        await service.tenants.create(name, name, name)
    async with superuser(postgres, service, "acme") as connection:
        await connection.execute("INSERT INTO runs (note) VALUES (NULL)")
    strict = migration("runs", 2, "ALTER TABLE runs ALTER note SET NOT NULL")
    await service.schema.publish("runs", [RUNS, strict])

    assert await drift(server) == {"acme": [], "globex": []}


async def test_each_alteration_is_named_with_the_object(
    service: Composition, server: RunningServer, postgres: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.schema.publish("runs", [RUNS, OBJECTS])
    template = f"{service.servers.main.management.name}_template"

    for number, (sql, wanted) in enumerate(ALTERATIONS):
        name = f"altered-{number}"
        await service.tenants.create(name, name, name)
        async with superuser(postgres, service, name) as connection:
            database = await connection.fetchval("SELECT current_database()")
            await connection.execute(sql.replace("{D}", database).replace("{T}", template))
        found = (await drift(server, name))[name]
        change, kind, target = wanted
        named = [one for one in found if one[:2] == (change, kind) and target in (None, one[2])]
        assert named, (sql, found)

    assert (await drift(server))["acme"] == []


async def test_a_tenant_that_cannot_be_looked_at_is_named_with_the_reason(
    service: Composition, server: RunningServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.suspend("acme")
    stub = schema_service_pb2_grpc.SchemaServiceStub(server.channel())

    found = [one async for one in stub.CheckDrift(schema_service_pb2.CheckDriftRequest())]

    assert [one.tenant_count for one in found] == [1, 1]
    assert found[1].drift.unchecked_reason == "the tenant is suspended"


@pytest.mark.timeout(120 + 2 * TENANTS)
async def test_exactly_the_altered_tenants_are_named(
    service: Composition, server: RunningServer, postgres: PostgresServer
) -> None:
    names = [f"tenant-{number}" for number in range(TENANTS)]
    for name in names:
        await service.tenants.create(name, name, name)
    altered = random.sample(names, max(3, TENANTS // 8))
    for name in altered:
        async with superuser(postgres, service, name) as connection:
            await connection.execute("CREATE INDEX by_hand ON runs (note)")

    found = await drift(server)

    expected = {name: [("unexpected", "index", "by_hand")] for name in altered}
    assert {name: named for name, named in found.items() if named} == expected
    assert set(found) == set(names)
