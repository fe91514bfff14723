"""Which role may connect to which database, tried by connecting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tenant.domain.databases import SERVICES, Database
from tenant.domain.passwords import scram_verifier

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config

PASSWORD = "the same for every role of this test"


async def open_logins(postgres: PostgresServer, databases: list[Database]) -> dict[str, str]:
    """Give every login role a known password, and let migration roles log in; as the superuser."""
    owners = {role: database.name for database in databases for role in database.logins}
    superuser = await asyncpg.connect(postgres.superuser_url())
    verifier = scram_verifier(PASSWORD)
    try:
        for role in owners:
            await superuser.execute(
                f"ALTER ROLE {role} LOGIN VALID UNTIL 'infinity' PASSWORD '{verifier}'"
            )
    finally:
        await superuser.close()
    return owners


async def enters(postgres: PostgresServer, role: str, database: str) -> bool:
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=postgres.port, user=role, password=PASSWORD, database=database
        )
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    except asyncpg.InsufficientPrivilegeError:
        return False
    await connection.close()
    return True


@pytest.fixture
async def databases(service: Composition, config: Config) -> list[Database]:
    created = [await service.tenants.create(name, name, name) for name in ("acme", "globex")]
    return [*(tenant.database for tenant in created), Database(config.database.database)]


async def test_every_login_role_enters_its_own_database_and_no_other(
    postgres: PostgresServer, databases: list[Database]
) -> None:
    owners = await open_logins(postgres, databases)
    everywhere = [*(database.name for database in databases), "postgres", "template1", "nagaya"]

    tried = {
        (role, name): await enters(postgres, role, name) for role in owners for name in everywhere
    }

    assert len(owners) == 3 * 2 * len(SERVICES)
    assert {pair for pair, entered in tried.items() if entered} == set(owners.items())


async def test_a_wrong_grant_does_not_bypass_pg_hba(
    postgres: PostgresServer, databases: list[Database]
) -> None:
    acme, globex, _ = databases
    await open_logins(postgres, databases)
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(f"GRANT CONNECT ON DATABASE {acme.name} TO PUBLIC")
    await superuser.close()

    entered = await asyncio.gather(*(enters(postgres, role, acme.name) for role in globex.logins))

    assert not any(entered)


async def test_privileges_alone_keep_everybody_out_as_well(
    postgres: PostgresServer, databases: list[Database]
) -> None:
    superuser = await asyncpg.connect(postgres.superuser_url())
    rows = await superuser.fetch(
        """
        SELECT rolname, datname
          FROM pg_roles, pg_database
         WHERE (rolname = ANY($1) OR rolname ~ '_steward_')
           AND datname = ANY($2)
           AND has_database_privilege(rolname, datname, 'CONNECT, TEMP, CREATE')
        """,
        [role for database in databases for role in database.logins],
        [*(database.name for database in databases), "postgres", "template1", "nagaya"],
    )
    await superuser.close()

    allowed = {(row["rolname"], row["datname"]) for row in rows}
    own = {(role, database.name) for database in databases for role in database.logins}
    managers = {(database.manager, database.name) for database in databases if database.manager}
    assert own <= allowed
    assert allowed - own <= managers  # which own it, and can never log in


async def test_only_the_services_own_roles_can_log_in(
    postgres: PostgresServer, databases: list[Database]
) -> None:
    managed = [name for d in databases for name in (*d.logins, d.group, d.manager)]
    superuser = await asyncpg.connect(postgres.superuser_url())
    rows = await superuser.fetch(
        """
        SELECT rolname FROM pg_authid
         WHERE rolname = ANY($1) AND (rolcanlogin OR rolpassword IS NOT NULL)
        """,
        managed,
    )
    await superuser.close()

    own = {database.runtime(service) for database in databases for service in SERVICES}
    assert {row["rolname"] for row in rows} == own


async def test_the_provisioner_alone_reaches_and_reads_every_tenant(
    postgres: PostgresServer, service: Composition, databases: list[Database]
) -> None:
    for database in databases[:2]:
        connection = await asyncpg.connect(postgres.provisioner_url(database.name))
        try:
            for table in ("runs", "artifacts", "audit_logs", "tenant_identity"):
                await connection.execute(f"SELECT * FROM {table}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("DELETE FROM runs")
        finally:
            await connection.close()
