"""The settings of the llm-gateway service, from the environment."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"
_KEYS = "NAGAYA_PROVIDER_KEYS_FILE"


@dataclass(frozen=True, slots=True)
class Config:
    """What one process of the gateway is told."""

    server: ServerConfig
    tenant_address: str
    artifacts_address: str
    endpoint: str
    """Where other processes of the gateway reach this one."""
    process: str
    """This process, of all there ever are."""
    connections: int
    """How many connections this process may hold open to one database server."""
    provider_keys_file: Path
    provider_http_hosts: tuple[str, ...]
    """Hosts that may be spoken to without TLS."""
    provider_idle_seconds: float
    """How long a provider may be silent."""
    lease_seconds: float
    """How long after the death of a process its calls are taken over."""
    landing_seconds: float
    """How long calls in flight may go on when the process is told to stop."""
    retry_reserve: int
    """Repeated attempts that a provider is granted after quiet times, beside one in ten."""

    @classmethod
    def read(cls) -> Config:
        """Read the environment. Raises SettingsInvalid with all that is wrong."""
        environment = Environment(os.environ)
        server = ServerConfig.from_environment(environment)
        hosts = environment.text("NAGAYA_PROVIDER_HTTP_HOSTS", "")
        environment.secret_file(_KEYS)
        config = cls(
            server=server,
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS"),
            artifacts_address=environment.text("NAGAYA_ARTIFACTS_ADDRESS"),
            endpoint=environment.text(
                "NAGAYA_ENDPOINT", f"{server.listen_host}:{server.listen_port}"
            ),
            process=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}",
            connections=environment.integer("NAGAYA_CONNECTIONS", 20, least=2),
            provider_keys_file=Path(environment.text(_KEYS, ".")),
            provider_http_hosts=tuple(filter(None, (h.strip() for h in hosts.split(",")))),
            provider_idle_seconds=environment.seconds("NAGAYA_PROVIDER_IDLE_SECONDS", 120.0),
            lease_seconds=environment.seconds("NAGAYA_LEASE_SECONDS", 15.0),
            landing_seconds=environment.seconds("NAGAYA_LANDING_SECONDS", 30.0),
            retry_reserve=environment.integer("NAGAYA_RETRY_RESERVE", 10),
        )
        environment.done()
        return config
