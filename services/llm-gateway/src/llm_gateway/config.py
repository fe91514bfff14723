"""The settings of the llm-gateway service, from the environment."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from servicekit import settings
from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """How providers are spoken to."""

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
            "hosts, separated by commas, that may be spoken to without TLS",
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
                "how long a provider may think before the first text of a reply",
                default=600.0,
            ),
            idle_seconds=environment.seconds(
                "NAGAYA_PROVIDER_IDLE_SECONDS",
                "how long a provider may be silent in the middle of a reply",
                default=120.0,
            ),
            reply_seconds=environment.seconds(
                "NAGAYA_PROVIDER_REPLY_SECONDS",
                "how long a provider may take for one reply, however busy it looks",
                default=3600.0,
            ),
            retry_reserve=environment.integer(
                "NAGAYA_RETRY_RESERVE",
                "repeated attempts granted to a provider after quiet times, beside one in ten",
                default=10,
            ),
            retry_pause_seconds=environment.seconds(
                "NAGAYA_RETRY_PAUSE_SECONDS",
                "for how long nothing is sent under a key after its attempts are used up, longer "
                "where the provider asks for it",
                default=10.0,
            ),
        )


@dataclass(frozen=True, slots=True)
class Config:
    """What one process of the gateway is told."""

    server: ServerConfig
    providers: ProviderConfig
    tenant_address: str
    artifacts_address: str
    connections: int
    process: str
    """This process, of all there ever are."""
    endpoint: str
    lease_seconds: float
    landing_seconds: float

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        server = ServerConfig.from_environment(environment)
        endpoint = environment.text(
            "NAGAYA_ENDPOINT",
            "where other processes of the gateway reach this one; where it listens, when not set",
            default="",
        )
        return cls(
            server=server,
            providers=ProviderConfig.from_environment(environment),
            tenant_address=environment.peer("NAGAYA_TENANT_ADDRESS", "tenant, `host:port`"),
            artifacts_address=environment.peer(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port`"
            ),
            connections=environment.integer(
                "NAGAYA_CONNECTIONS",
                "how many connections this process may hold open to one database server",
                default=20,
                least=2,
            ),
            process=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}",
            endpoint=endpoint or f"{server.listen_host}:{server.listen_port}",
            lease_seconds=environment.seconds(
                "NAGAYA_LEASE_SECONDS",
                "how long after the death of a process its calls are taken over",
                default=15.0,
            ),
            landing_seconds=environment.seconds(
                "NAGAYA_LANDING_SECONDS",
                "how long calls in flight may go on when the process is told to stop; then a whole "
                "reply is kept in the tenant's database, and the rest is `unknown`",
                default=30.0,
            ),
        )
