"""The table `llm_prices`, in the management database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg

import paging
from llm_gateway.domain.prices import Price, Rates
from llm_gateway.errors import ModelNotFound

if TYPE_CHECKING:
    from dataplane.pools import Connection

PRICE = (
    "id, model_id, effective_at, min_input_tokens,"
    " input_micro_usd, cache_read_micro_usd, cache_write_micro_usd, output_micro_usd"
)


async def insert(connection: Connection, price: Price) -> bool:
    """Add a row; return whether model, time and length had none.

    Raises ModelNotFound.
    """
    try:
        return await connection.fetchval(
            f"""
            WITH added AS (
                INSERT INTO llm_prices ({PRICE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT ON CONSTRAINT llm_prices_moment DO NOTHING
                RETURNING 1
            )
            SELECT EXISTS (SELECT FROM added)
            """,
            price.id,
            price.model_id,
            price.effective_at,
            price.min_input_tokens,
            price.rates.input,
            price.rates.cache_read,
            price.rates.cache_write,
            price.rates.output,
        )
    except asyncpg.ForeignKeyViolationError:
        raise ModelNotFound(price.model_id) from None


async def find(connection: Connection, price_id: str) -> Price | None:
    row = await connection.fetchrow(f"SELECT {PRICE} FROM llm_prices WHERE id = $1", price_id)
    return None if row is None else price_of(row)


async def page(connection: Connection, model_id: str, size: int, token: str) -> paging.Page[Price]:
    """Return one page of a model's prices, the latest first, longer prompts before shorter."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("model_id = {}", model_id),
        ("(effective_at, min_input_tokens) < ({}, {})", paging.decode(token, datetime, int)),
    )
    rows = await connection.fetch(
        f"""
        SELECT {PRICE} FROM llm_prices {where}
         ORDER BY effective_at DESC, min_input_tokens DESC
         LIMIT ${len(values) + 1}
        """,
        *values,
        limit + 1,
    )
    return paging.page(rows, limit, price_of, "effective_at", "min_input_tokens")


def price_of(row: asyncpg.Record) -> Price:
    return Price(
        id=row["id"],
        model_id=row["model_id"],
        effective_at=row["effective_at"],
        min_input_tokens=row["min_input_tokens"],
        rates=Rates(
            input=row["input_micro_usd"],
            cache_read=row["cache_read_micro_usd"],
            cache_write=row["cache_write_micro_usd"],
            output=row["output_micro_usd"],
        ),
    )
