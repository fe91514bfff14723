"""The settings of the llm-gateway service, from the environment."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from authentication.oidc.config import OidcConfig
from servicekit import settings
from servicekit.settings import Environment, ServerConfig
from tls.address import ServerAddress

MIGRATIONS = Path(__file__).parent / "migrations"
_WILDCARDS = ("0.0.0.0", "::", "[::]")  # noqa: S104


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """Settings of the requests to providers."""

    keys_file: Path
    http_hosts: tuple[str, ...]
    first_byte_seconds: float
    idle_seconds: float
    reply_seconds: float
    retry_reserve: int
    retry_pause_seconds: float

    @classmethod
    def from_environment(cls, environment: Environment) -> ProviderConfig:
        hosts = environment.text(
            "NAGAYA_PROVIDER_HTTP_HOSTS",
            "hosts, separated by commas, that may be called over plain http",
            default="",
        )
        return cls(
            keys_file=environment.private_file(
                "NAGAYA_PROVIDER_KEYS_FILE",
                'JSON, `{"claude": "…"}` by provider id; mode 0600; read again when it changes',
            ),
            http_hosts=tuple(filter(None, (host.strip() for host in hosts.split(",")))),
            first_byte_seconds=environment.seconds(
                "NAGAYA_PROVIDER_FIRST_BYTE_SECONDS",
                "how long to wait for the first text of a reply",
                default=600.0,
            ),
            idle_seconds=environment.seconds(
                "NAGAYA_PROVIDER_IDLE_SECONDS",
                "how long to wait for the next text of a reply",
                default=120.0,
            ),
            reply_seconds=environment.seconds(
                "NAGAYA_PROVIDER_REPLY_SECONDS",
                "how long one reply may take in all",
                default=3600.0,
            ),
            retry_reserve=environment.integer(
                "NAGAYA_RETRY_RESERVE",
                "the retry budget: one retry for ten calls to a provider, and so many in reserve",
                default=10,
            ),
            retry_pause_seconds=environment.seconds(
                "NAGAYA_RETRY_PAUSE_SECONDS",
                "the backoff of a key after its attempts are used up; longer where the provider "
                "asks for it",
                default=10.0,
            ),
        )


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one process of the gateway."""

    server: ServerConfig
    oidc: OidcConfig | None
    providers: ProviderConfig
    tenant_address: ServerAddress
    artifacts_address: ServerAddress
    connections: int
    process: str
    """Names this process uniquely; owner of its leases."""
    endpoint: ServerAddress
    """Where other processes of the gateway reach this one."""
    lease_seconds: float
    reply_retention_days: int
    """How long replies are kept; 0 for as long as their runs."""
    shutdown_grace_seconds: float

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        server = ServerConfig.from_environment(environment)
        environment.renamed("NAGAYA_LANDING_SECONDS", "NAGAYA_SHUTDOWN_GRACE_SECONDS")
        return cls(
            server=server,
            oidc=OidcConfig.from_environment(environment, server),
            providers=ProviderConfig.from_environment(environment),
            tenant_address=environment.peer(
                "NAGAYA_TENANT_ADDRESS", "tenant, `host:port` or `https://host:port`"
            ),
            artifacts_address=environment.peer(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port` or `https://host:port`"
            ),
            connections=environment.integer(
                "NAGAYA_CONNECTIONS",
                "how many connections this process may hold open to one database server",
                default=20,
                least=2,
            ),
            process=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}",
            endpoint=_endpoint(environment, server),
            lease_seconds=environment.seconds(
                "NAGAYA_LEASE_SECONDS",
                "how long after the death of a process its calls may be taken over",
                default=15.0,
            ),
            reply_retention_days=environment.integer(
                "NAGAYA_REPLY_RETENTION_DAYS",
                "after how many days replies are deleted; 0 keeps them as long as their runs",
                default=0,
            ),
            shutdown_grace_seconds=environment.seconds(
                "NAGAYA_SHUTDOWN_GRACE_SECONDS",
                "how long calls in flight may go on after SIGTERM; then a whole reply has two "
                "seconds to settle its call, and the outcome of all others is `unknown`",
                default=30.0,
            ),
        )


def _endpoint(environment: Environment, server: ServerConfig) -> ServerAddress:
    given = environment.optional_peer(
        "NAGAYA_ENDPOINT",
        "where other processes of the gateway reach this one; where it listens, when not set",
    )
    if given is not None:
        if (given.tls is None) != (server.tls is None):
            spoken = "TLS: https:// is" if server.tls is not None else "plaintext: host:port is"
            environment.refuse(f"NAGAYA_ENDPOINT={given}: this process speaks {spoken} meant")
        return given
    if server.listen_host in _WILDCARDS:
        environment.refuse(
            f"NAGAYA_ENDPOINT is not set: at {server.listen_host}, where this one listens, other "
            "processes of the gateway cannot reach it; name its address, as `host:port`"
        )
    tls = None if server.tls is None else environment.client_tls()
    return ServerAddress(server.listen_host, server.listen_port, tls)
