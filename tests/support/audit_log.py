"""The audit log of a database, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


async def chain(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Chain what is committed, so that `audit_logs` has every entry."""
    await connection.execute("SELECT audit_chain(1000000)")
