"""The columns whose values are encrypted with the key ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class EncryptedColumn:
    """A column, and what binds each value to its row: `place`, then the values of `keys`."""

    table: str
    column: str
    keys: tuple[str, ...]
    place: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EncryptedValue:
    """A value, its row's keys, and its place."""

    encrypted: str
    keys: tuple[object, ...]
    place: tuple[str, ...]


COLUMNS = (
    EncryptedColumn("tenants", "database_url", ("id",), ("tenants.database_url",)),
    EncryptedColumn(
        "tenant_credentials",
        "sealed",
        ("tenant_id", "service", "generation"),
        ("tenant_credentials",),
    ),
    EncryptedColumn(
        "management_credentials",
        "sealed",
        ("service", "generation"),
        ("management_credentials", ""),
    ),
    EncryptedColumn(
        "next_credentials",
        "sealed",
        ("tenant_id", "service", "operation_id"),
        ("next_credentials",),
    ),
    EncryptedColumn(
        "tenant_secrets", "sealed", ("tenant_id", "service", "name"), ("tenant_secrets",)
    ),
    EncryptedColumn("db_servers", "provisioner_url", ("id",), ("db_servers.provisioner_url",)),
)


async def counts(connection: Connection) -> dict[str, int]:
    """Return how many values are encrypted with each key, by its id."""
    union = " UNION ALL ".join(
        f"SELECT split_part({each.column}, '.', 2) AS key_id FROM {each.table}"
        f" WHERE {each.column} <> ''"
        for each in COLUMNS
    )
    rows = await connection.fetch(
        f"SELECT key_id, count(*) AS number FROM ({union}) AS used GROUP BY key_id"
    )
    return {row["key_id"]: row["number"] for row in rows}


async def not_encrypted_with(
    connection: Connection, column: EncryptedColumn, key_id: str, limit: int
) -> list[EncryptedValue]:
    """Return up to `limit` values of a column that are encrypted with another key."""
    keys = ", ".join(column.keys)
    rows = await connection.fetch(
        f"""
        SELECT {column.column} AS encrypted, {keys} FROM {column.table}
         WHERE {column.column} <> '' AND split_part({column.column}, '.', 2) <> $1
         ORDER BY {keys} LIMIT $2
        """,
        key_id,
        limit,
    )
    found: list[EncryptedValue] = []
    for row in rows:
        values = tuple(row[key] for key in column.keys)
        found.append(EncryptedValue(row["encrypted"], values, (*column.place, *map(str, values))))
    return found


async def replace(
    connection: Connection, column: EncryptedColumn, value: EncryptedValue, encrypted: str
) -> None:
    """Replace a value, unless it has changed meanwhile."""
    conditions = " AND ".join(
        f"{key} = ${number}" for number, key in enumerate(column.keys, start=3)
    )
    await connection.execute(
        f"""
        UPDATE {column.table} SET {column.column} = $1
         WHERE {column.column} = $2 AND {conditions}
        """,
        encrypted,
        value.encrypted,
        *value.keys,
    )
