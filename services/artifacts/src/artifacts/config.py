"""The settings of the artifacts service, read from the environment once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The object store."""

    endpoint: str
    """Where it listens, such as http://127.0.0.1:9000."""
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str
    """What requests are signed for; stores that have no regions take any."""


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """How long left-overs stay."""

    upload_seconds: float
    """How long after its announcement a file may come."""
    grace_seconds: float
    """How long an object without a row, or a write that nobody finishes, is left alone."""
    interval_seconds: float
    """How often this process looks for tenants that are due."""


@dataclass(frozen=True, slots=True)
class Config:
    server: ServerConfig
    store: StoreConfig
    collector: CollectorConfig
    tenant_address: str
    connections: int
    """How many connections this process may hold open to one database server."""

    @classmethod
    def read(cls) -> Config:
        """Read the environment. Raises SettingsInvalid with every problem."""
        environment = Environment(os.environ)
        config = cls(
            server=ServerConfig.from_environment(environment),
            store=_store(environment),
            collector=CollectorConfig(
                upload_seconds=environment.seconds("NAGAYA_UPLOAD_SECONDS", 24 * 3600),
                grace_seconds=environment.seconds("NAGAYA_ORPHAN_GRACE_SECONDS", 3600),
                interval_seconds=environment.seconds("NAGAYA_COLLECT_SECONDS", 60),
            ),
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS"),
            connections=environment.integer("NAGAYA_CONNECTIONS", 20, least=2),
        )
        environment.done()
        return config


def _store(environment: Environment) -> StoreConfig:
    endpoint = environment.text("S3_ENDPOINT")
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        environment.refuse(f"S3_ENDPOINT={endpoint}: not http://host:port or https://host")
    bucket = environment.text("NAGAYA_BUCKET", "storage")
    if not _BUCKET.fullmatch(bucket):
        environment.refuse(f"NAGAYA_BUCKET={bucket}: not the name of a bucket")
    return StoreConfig(
        endpoint=endpoint.rstrip("/"),
        access_key=environment.text("S3_ACCESS_KEY"),
        secret_key=environment.text("S3_SECRET_KEY"),
        bucket=bucket,
        region=environment.text("S3_REGION", "us-east-1"),
    )
