"""The settings of the artifacts service, read from the environment once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from authentication.oidc.config import OidcConfig
from servicekit import settings
from servicekit.settings import Environment, ServerConfig

if TYPE_CHECKING:
    from tls.address import ServerAddress

MIGRATIONS = Path(__file__).parent / "migrations"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The S3 store and its bucket."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str

    @classmethod
    def from_environment(cls, environment: Environment) -> StoreConfig:
        endpoint = environment.text(
            "S3_ENDPOINT", "the object store, `http://host:port` or `https://host`"
        )
        if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
            environment.refuse(f"S3_ENDPOINT={endpoint}: not http://host:port or https://host")
        bucket = environment.text(
            "NAGAYA_BUCKET", "the bucket; made when it is not there", default="storage"
        )
        if not _BUCKET.fullmatch(bucket):
            environment.refuse(f"NAGAYA_BUCKET={bucket}: not the name of a bucket")
        return cls(
            endpoint=endpoint.rstrip("/"),
            access_key=environment.secret("S3_ACCESS_KEY", "the key pair of the store"),
            secret_key=environment.secret("S3_SECRET_KEY", "its secret half"),
            bucket=bucket,
            region=environment.text(
                "S3_REGION",
                "what requests are signed for; stores without regions take any",
                default="us-east-1",
            ),
        )


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """The intervals of the collector."""

    upload_seconds: float
    grace_seconds: float
    interval_seconds: float

    @classmethod
    def from_environment(cls, environment: Environment) -> CollectorConfig:
        return cls(
            upload_seconds=environment.seconds(
                "NAGAYA_UPLOAD_SECONDS",
                "how long after its announcement a file may come",
                default=24 * 3600,
            ),
            grace_seconds=environment.seconds(
                "NAGAYA_ORPHAN_GRACE_SECONDS",
                "how long an object without a row, or a write that nobody finishes, is left alone",
                default=3600,
            ),
            interval_seconds=environment.seconds(
                "NAGAYA_COLLECT_SECONDS",
                "how often this process looks for tenants that are due",
                default=60,
            ),
        )


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the process."""

    server: ServerConfig
    oidc: OidcConfig | None
    store: StoreConfig
    collector: CollectorConfig
    tenant_address: ServerAddress
    connections: int

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        return cls(
            server=(server := ServerConfig.from_environment(environment)),
            oidc=OidcConfig.from_environment(environment, server),
            store=StoreConfig.from_environment(environment),
            collector=CollectorConfig.from_environment(environment),
            tenant_address=environment.peer(
                "NAGAYA_TENANT_ADDRESS", "tenant, `host:port` or `https://host:port`"
            ),
            connections=environment.integer(
                "NAGAYA_CONNECTIONS",
                "how many connections this process may hold open to one database server",
                default=20,
                least=2,
            ),
        )
