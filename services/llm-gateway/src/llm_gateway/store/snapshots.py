"""The whole catalogue at once, in the management database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.domain.catalog import Catalog
from llm_gateway.store.catalog import (
    DEFAULT,
    MODEL,
    PROVIDER,
    default_of,
    model_of,
    provider_of,
)
from llm_gateway.store.prices import PRICE, price_of

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def version(connection: Connection) -> int:
    return await connection.fetchval("SELECT version FROM llm_catalog")


async def load(connection: Connection) -> Catalog:
    """Return one version of the catalogue; the transaction must have read nothing before."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    return await read(connection)


async def read(connection: Connection) -> Catalog:
    """Return the catalogue, in a transaction that holds it (see `catalog.lock`)."""
    return Catalog.of(
        await version(connection),
        map(provider_of, await connection.fetch(f"SELECT {PROVIDER} FROM llm_providers")),
        map(model_of, await connection.fetch(f"SELECT {MODEL} FROM llm_models")),
        map(price_of, await connection.fetch(f"SELECT {PRICE} FROM llm_prices")),
        map(default_of, await connection.fetch(f"SELECT {DEFAULT} FROM step_llm_defaults")),
    )
