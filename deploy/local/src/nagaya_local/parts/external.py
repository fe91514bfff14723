"""Probes of servers that the environment gives instead of embedded parts."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from nagaya_local.errors import NotReady
from nagaya_local.parts.s3 import BUCKET
from nagaya_local.parts.temporal import describe_namespace
from tls.address import ServerAddress

if TYPE_CHECKING:
    from nagaya_local.clone.choices import S3Choice
    from runs.temporal_config import TemporalConfig

# Short, so that an address which leads nowhere is told within 10 s.
_SECONDS = 3.0
OLDEST_POSTGRES = 18


async def probe_postgres(url: str) -> None:
    """Return when the server takes the address and may be provisioned. Raises NotReady."""
    leads = f"NAGAYA_PG_URL does not lead to a database: {without_password(url)}"
    try:
        connection = await asyncpg.connect(url, timeout=_SECONDS)
    except (OSError, TimeoutError) as error:
        raise NotReady(f"{leads} does not answer ({_why(error)})") from error
    except (ValueError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
        raise NotReady(f"{leads} refuses ({error})") from error
    version = connection.get_server_version().major
    try:
        allowed = await connection.fetchval(
            "SELECT rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
    finally:
        await connection.close()
    if version < OLDEST_POSTGRES:
        raise NotReady(
            f"NAGAYA_PG_URL leads to PostgreSQL {version}, and {OLDEST_POSTGRES} or later is needed"
        )
    if not allowed:
        raise NotReady("the role in NAGAYA_PG_URL has not both CREATEDB and CREATEROLE")


async def probe_temporal(config: TemporalConfig) -> None:
    """Return when the server has the namespace. Raises NotReady."""
    host, _, port = config.address.rpartition(":")
    address = ServerAddress(host, int(port), config.tls)
    try:
        await asyncio.to_thread(
            describe_namespace, address, config.namespace, _SECONDS, config.api_key
        )
    except NotReady as lack:
        raise NotReady(f"TEMPORAL_ADDRESS does not lead to Temporal: {lack}") from lack


async def probe_s3(choice: S3Choice) -> None:
    """Return when the server takes the keys; artifacts finds out what it can. Raises NotReady."""
    await asyncio.to_thread(_probe_s3, choice)


def without_password(url: str) -> str:
    """Return where a database is, for people."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def _probe_s3(choice: S3Choice) -> None:
    import urllib3  # noqa: PLC0415 - these two take most of a second, and few have an S3 of theirs
    from minio import Minio, S3Error  # noqa: PLC0415
    from minio.error import MinioException  # noqa: PLC0415

    leads = f"S3_ENDPOINT does not lead to an S3 server: {choice.endpoint}"
    parts = urlsplit(choice.endpoint)
    pool = urllib3.PoolManager(timeout=_SECONDS, retries=False)
    secure = parts.scheme == "https"
    keys = (choice.access_key, choice.secret_key)
    client = Minio(parts.netloc, *keys, secure=secure, http_client=pool)
    try:
        next(client.list_objects(BUCKET), None)
    except MinioException as error:
        details = str(error.code if isinstance(error, S3Error) else error)
        if details == "NoSuchBucket":  # artifacts makes it
            return
        if not isinstance(error, S3Error) and "Response code: 403" not in details:
            raise NotReady(f"{leads} answers something else") from error
        refused = "S3_ACCESS_KEY and S3_SECRET_KEY do not open the S3 server at"
        raise NotReady(f"{refused} {choice.endpoint}") from error
    except urllib3.exceptions.HTTPError as error:
        raise NotReady(f"{leads} does not answer ({_why(error)})") from error


def _why(error: Exception) -> str:
    """Say why nothing answers, without the names of exceptions and the like."""
    if isinstance(error, TimeoutError) or not str(error):
        return f"nothing came for {_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "TLS failed"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    # Such as: HTTPConnection(…): Failed to establish a new connection: [Errno 111] Connection …
    return str(error).rpartition(": ")[2].rpartition("] ")[2]
