"""What a database server has of this installation, whoever it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenant.domain.databases import OPERATION, TENANT_PREFIX, Database, probe_database

if TYPE_CHECKING:
    import asyncpg

    from dataplane.pools import Connection

_INVALID_DATABASE = -2  # what PostgreSQL sets as the limit of a database whose DROP was interrupted


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    """A database whose name is that of a tenant's."""

    database: Database
    marker: str
    """Its comment after the installation's marker; empty if it has another, or none."""
    operation_id: str
    """Of the operation that it was made for, as its comment says; empty where it does not."""
    ours: bool
    """Whether the comment begins with the installation's marker."""
    invalid: bool


async def databases_of(connection: Connection, marker: str) -> list[FoundDatabase]:
    """Return the databases whose names begin as tenants' do."""
    rows = await connection.fetch(
        """
        SELECT datname, datconnlimit, coalesce(shobj_description(d.oid, 'pg_database'), '') AS said,
               (SELECT m.member::regrole::text
                  FROM pg_auth_members AS m
                 WHERE m.roleid = d.datdba AND m.inherit_option
                 LIMIT 1) AS manager
          FROM pg_database AS d
         WHERE starts_with(datname, $1) AND NOT datistemplate
         ORDER BY datname
        """,
        TENANT_PREFIX,
    )
    return [_found(row, marker) for row in rows]


def _found(row: asyncpg.Record, marker: str) -> FoundDatabase:
    ours = row["said"].startswith(marker)
    said = row["said"].removeprefix(marker).strip() if ours else ""
    return FoundDatabase(
        Database(row["datname"], row["manager"] or ""),
        said,
        said.removeprefix(OPERATION) if said.startswith(OPERATION) else "",
        ours,
        row["datconnlimit"] == _INVALID_DATABASE,
    )


async def groups_without_database(connection: Connection, prefix: str) -> list[Database]:
    """Return the group roles of tenants' databases that there are not, with their manager roles.

    Only those that a manager role of this installation manages: its name begins with `prefix`.
    """
    rows = await connection.fetch(
        """
        SELECT r.rolname, manager.rolname AS manager
          FROM pg_roles AS r
          JOIN pg_auth_members AS m ON m.roleid = r.oid AND m.admin_option
          JOIN pg_roles AS manager ON manager.oid = m.member
         WHERE r.rolname ~ ('^' || $1 || '[0-9a-z]{26}$')
           AND starts_with(manager.rolname, $2)
           AND NOT EXISTS (SELECT FROM pg_database WHERE datname = r.rolname)
         ORDER BY r.rolname
        """,
        TENANT_PREFIX,
        prefix,
    )
    return [Database(row["rolname"], row["manager"]) for row in rows]


async def existing(connection: Connection) -> set[str]:
    """Return the names of all databases."""
    rows = await connection.fetch("SELECT datname FROM pg_database")
    return {row["datname"] for row in rows}


async def slots(connection: Connection, marker: str) -> list[tuple[str, Database]]:
    """Return the replication slots for copies of this installation's databases, with those.

    A slot has the name of the copy.
    """
    rows = await connection.fetch(
        """
        SELECT slot.slot_name, slot.database
          FROM pg_replication_slots AS slot
          JOIN pg_database AS d ON d.datname = slot.database
         WHERE slot.slot_name ~ ('^' || $1 || '[0-9a-z]{26}$')
           AND starts_with(shobj_description(d.oid, 'pg_database'), $2)
         ORDER BY slot.slot_name
        """,
        TENANT_PREFIX,
        marker,
    )
    return [(row["slot_name"], Database(row["database"])) for row in rows]


async def probes(connection: Connection, management: Database) -> list[Database]:
    """Return what is left, in whole or in part, of databases that were made to look at it."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT substring(name from '^' || $1 || '_probe_[0-9a-f]{8}') AS name
          FROM (SELECT datname AS name FROM pg_database UNION ALL SELECT rolname FROM pg_roles)
               AS known
         WHERE name ~ ('^' || $1 || '_probe_[0-9a-f]{8}')
         ORDER BY 1
        """,
        management.name,
    )
    return [probe_database(row["name"]) for row in rows]
