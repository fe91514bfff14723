"""The table `data_keys`: keys that a key management service has encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class DataKey:
    """An encrypted key; `is_usable` once every process has had the time to learn of it."""

    key_id: str
    service: str
    wrapped: str
    is_usable: bool


async def list_all(connection: Connection) -> list[DataKey]:
    """Return all keys, the newest last."""
    rows = await connection.fetch(
        """
        SELECT key_id, service, wrapped, active_from <= clock_timestamp() AS is_usable
          FROM data_keys ORDER BY active_from, key_id
        """
    )
    return [
        DataKey(row["key_id"], row["service"], row["wrapped"], row["is_usable"]) for row in rows
    ]


async def insert(
    connection: Connection, key_id: str, service: str, wrapped: str, seconds: float
) -> None:
    """Insert a key that is active in so many seconds; nothing if it is there."""
    await connection.execute(
        """
        INSERT INTO data_keys (key_id, service, wrapped, active_from)
        VALUES ($1, $2, $3, clock_timestamp() + $4)
        ON CONFLICT DO NOTHING
        """,
        key_id,
        service,
        wrapped,
        timedelta(seconds=seconds),
    )
