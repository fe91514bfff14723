"""The settings of the service, read once from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from servicekit import settings
from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class TemporalConfig:
    address: str
    namespace: str
    task_queue: str

    @classmethod
    def read(cls) -> TemporalConfig:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> TemporalConfig:
        return cls(
            address=environment.text("TEMPORAL_ADDRESS", "Temporal's frontend, `host:port`"),
            namespace=environment.text(
                "NAGAYA_TEMPORAL_NAMESPACE", "Temporal's namespace", default="default"
            ),
            task_queue=environment.text(
                "NAGAYA_TASK_QUEUE", "where workers look for runs", default="runs"
            ),
        )


@dataclass(frozen=True, slots=True)
class Config:
    server: ServerConfig
    temporal: TemporalConfig
    tenant_address: str
    artifacts_address: str
    llm_gateway_address: str
    connections: int

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        return cls(
            server=ServerConfig.from_environment(environment),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS", "tenant, `host:port`"),
            artifacts_address=environment.text(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port`"
            ),
            llm_gateway_address=environment.text(
                "NAGAYA_LLM_GATEWAY_ADDRESS", "llm-gateway, `host:port`"
            ),
            connections=_connections(environment),
        )


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    process: ServerConfig
    """A worker listens nowhere: of the address only the host counts, for its metrics."""
    temporal: TemporalConfig
    tenant_address: str
    artifacts_address: str
    llm_gateway_address: str
    connections: int
    steps_at_once: int
    tenant_share: int

    @classmethod
    def read(cls) -> WorkerConfig:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> WorkerConfig:
        return cls(
            process=ServerConfig.from_environment(environment, listen=("127.0.0.1", 0)),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS", "tenant, `host:port`"),
            artifacts_address=environment.text(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port`"
            ),
            llm_gateway_address=environment.text(
                "NAGAYA_LLM_GATEWAY_ADDRESS", "llm-gateway, `host:port`"
            ),
            connections=_connections(environment),
            steps_at_once=environment.integer(
                "NAGAYA_STEPS_AT_ONCE",
                "how many llm steps and long functions this process does at once",
                default=100,
                least=1,
            ),
            tenant_share=environment.integer(
                "NAGAYA_TENANT_SHARE",
                "the most that one tenant may hold of these, in percent of what the others leave",
                default=75,
                least=1,
                most=100,
            ),
        )


def _connections(environment: Environment) -> int:
    return environment.integer(
        "NAGAYA_CONNECTIONS",
        "how many connections this process may hold open to one database server",
        default=20,
        least=2,
    )
