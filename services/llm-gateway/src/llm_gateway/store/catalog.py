"""The tables of the catalogue, in the management database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

import paging
from llm_gateway.domain.models import (
    Capabilities,
    Model,
    ModelClass,
    Provider,
    StepDefault,
    WireFormat,
)
from llm_gateway.errors import ProviderNotFound

if TYPE_CHECKING:
    from dataplane.pools import Connection

PROVIDER = "id, display_name, api_base_url, is_active, wire_format"
MODEL = (
    "id, provider_id, model_name, model_class, is_active, max_output_tokens, max_input_tokens,"
    " json_schema, temperature, reasoning_headroom_tokens, set_in_version"
)
DEFAULT = "step, provider_id, model_class"


async def next_version(connection: Connection) -> int:
    """Increment the catalogue's version, and return it."""
    return await connection.fetchval(
        "UPDATE llm_catalog SET version = version + 1 RETURNING version"
    )


async def lock(connection: Connection) -> None:
    """Lock the catalogue against other changes until the transaction ends."""
    await connection.execute("SELECT FROM llm_catalog FOR UPDATE")


async def is_current(connection: Connection, wanted: Provider | Model | StepDefault) -> bool:
    """Whether to set something would change nothing.

    A model that is set again is the latest of its class: that changes what the class means.
    """
    match wanted:
        case Provider():
            sql, key = f"SELECT {PROVIDER} FROM llm_providers WHERE id = $1", wanted.id
            row = await connection.fetchrow(sql, key)
            return row is not None and provider_of(row) == wanted
        case Model():
            row = await connection.fetchrow(
                f"""
                SELECT {MODEL} FROM llm_models AS this
                 WHERE id = $1 AND NOT EXISTS (
                       SELECT FROM llm_models AS other
                        WHERE (other.provider_id, other.model_class)
                              = (this.provider_id, this.model_class)
                          AND (other.set_in_version, other.id) > (this.set_in_version, this.id))
                """,
                wanted.id,
            )
            return row is not None and replace(model_of(row), set_in_version=0) == wanted
        case StepDefault():
            sql, key = f"SELECT {DEFAULT} FROM step_llm_defaults WHERE step = $1", wanted.step
            row = await connection.fetchrow(sql, key)
            return row is not None and default_of(row) == wanted


async def upsert_provider(connection: Connection, provider: Provider) -> None:
    await connection.execute(
        """
        INSERT INTO llm_providers (id, display_name, api_base_url, is_active, wire_format)
        VALUES ($1, $2, nullif($3, ''), $4, $5)
        ON CONFLICT (id) DO UPDATE
           SET display_name = $2, api_base_url = nullif($3, ''), is_active = $4,
               wire_format = $5
        """,
        provider.id,
        provider.display_name,
        provider.api_base_url,
        provider.active,
        provider.wire_format,
    )


async def upsert_model(connection: Connection, model: Model) -> None:
    """Create or change a model. Raises ProviderNotFound."""
    can = model.capabilities
    try:
        await connection.execute(
            f"""
            INSERT INTO llm_models ({MODEL})
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (id) DO UPDATE
               SET provider_id = $2, model_name = $3, model_class = $4, is_active = $5,
                   max_output_tokens = $6, max_input_tokens = $7, json_schema = $8,
                   temperature = $9, reasoning_headroom_tokens = $10, set_in_version = $11
            """,
            model.id,
            model.provider_id,
            model.name,
            model.model_class,
            model.active,
            can.max_output_tokens,
            can.max_input_tokens,
            can.json_schema,
            can.temperature,
            can.reasoning_headroom_tokens,
            model.set_in_version,
        )
    except asyncpg.ForeignKeyViolationError:
        raise ProviderNotFound(model.provider_id) from None


async def upsert_step_default(connection: Connection, default: StepDefault) -> None:
    """Create or change a default. Raises ProviderNotFound."""
    try:
        await connection.execute(
            """
            INSERT INTO step_llm_defaults (step, provider_id, model_class)
            VALUES ($1, $2, $3)
            ON CONFLICT (step) DO UPDATE SET provider_id = $2, model_class = $3
            """,
            default.step,
            default.model_class.provider_id,
            default.model_class.model_class,
        )
    except asyncpg.ForeignKeyViolationError:
        raise ProviderNotFound(default.model_class.provider_id) from None


async def model_exists(connection: Connection, model_id: str) -> bool:
    return await connection.fetchval(
        "SELECT EXISTS (SELECT FROM llm_models WHERE id = $1)", model_id
    )


async def provider_page(connection: Connection, size: int, token: str) -> paging.Page[Provider]:
    """Return one page of providers, by id."""
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, str) or ""
    rows = await connection.fetch(
        f"SELECT {PROVIDER} FROM llm_providers WHERE id > $1 ORDER BY id LIMIT $2", after, limit + 1
    )
    return paging.page(rows, limit, provider_of, "id")


async def model_page(connection: Connection, size: int, token: str) -> paging.Page[Model]:
    """Return one page of models, by id."""
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, str) or ""
    rows = await connection.fetch(
        f"SELECT {MODEL} FROM llm_models WHERE id > $1 ORDER BY id LIMIT $2", after, limit + 1
    )
    return paging.page(rows, limit, model_of, "id")


async def step_default_page(
    connection: Connection, size: int, token: str
) -> paging.Page[StepDefault]:
    """Return one page of defaults, by step."""
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, str) or ""
    rows = await connection.fetch(
        f"SELECT {DEFAULT} FROM step_llm_defaults WHERE step > $1 ORDER BY step LIMIT $2",
        after,
        limit + 1,
    )
    return paging.page(rows, limit, default_of, "step")


def provider_of(row: asyncpg.Record) -> Provider:
    return Provider(
        id=row["id"],
        display_name=row["display_name"],
        api_base_url=row["api_base_url"] or "",
        active=row["is_active"],
        wire_format=WireFormat(row["wire_format"]),
    )


def model_of(row: asyncpg.Record) -> Model:
    return Model(
        id=row["id"],
        provider_id=row["provider_id"],
        name=row["model_name"],
        model_class=row["model_class"],
        active=row["is_active"],
        capabilities=Capabilities(
            max_output_tokens=row["max_output_tokens"],
            max_input_tokens=row["max_input_tokens"],
            json_schema=row["json_schema"],
            temperature=row["temperature"],
            reasoning_headroom_tokens=row["reasoning_headroom_tokens"],
        ),
        set_in_version=row["set_in_version"],
    )


def default_of(row: asyncpg.Record) -> StepDefault:
    return StepDefault(row["step"], ModelClass(row["provider_id"], row["model_class"]))
