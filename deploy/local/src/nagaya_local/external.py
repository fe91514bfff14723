"""Asking parts that somebody else runs whether they can be used."""

from __future__ import annotations

import asyncio
import http.client
from urllib.parse import urlsplit

import asyncpg

from nagaya_local.errors import NotReady
from nagaya_local.temporal import describe_namespace

_SECONDS = 5.0


async def ask_postgres(url: str) -> None:
    """Return when the server takes the address and may be provisioned. Raises NotReady."""
    try:
        connection = await asyncpg.connect(url, timeout=_SECONDS)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        raise NotReady(f"NAGAYA_PG_URL does not lead to a database ({error})") from error
    try:
        allowed = await connection.fetchval(
            "SELECT rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
    finally:
        await connection.close()
    if not allowed:
        raise NotReady("the role in NAGAYA_PG_URL has not both CREATEDB and CREATEROLE")


async def ask_temporal(address: str) -> None:
    """Return when the server has the default namespace. Raises NotReady."""
    await asyncio.to_thread(describe_namespace, address)


async def ask_s3(endpoint: str) -> None:
    """Return when something answers there; artifacts finds out what the keys open."""
    await asyncio.to_thread(_ask_http, endpoint)


def _ask_http(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise NotReady(f"S3_ENDPOINT {endpoint} is not http://host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"S3_ENDPOINT {endpoint} does not answer ({error})") from error
    finally:
        connection.close()
