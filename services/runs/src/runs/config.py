"""The settings of the service, read once from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class TemporalConfig:
    address: str
    """`host:port` of Temporal's frontend."""
    namespace: str
    task_queue: str
    """Where the workers look for runs."""

    @classmethod
    def from_environment(cls, environment: Environment) -> TemporalConfig:
        return cls(
            address=environment.text("TEMPORAL_ADDRESS"),
            namespace=environment.text("NAGAYA_TEMPORAL_NAMESPACE", "default"),
            task_queue=environment.text("NAGAYA_TASK_QUEUE", "runs"),
        )

    @classmethod
    def read(cls) -> TemporalConfig:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        environment = Environment(os.environ)
        config = cls.from_environment(environment)
        environment.done()
        return config


@dataclass(frozen=True, slots=True)
class Config:
    server: ServerConfig
    temporal: TemporalConfig
    tenant_address: str
    artifacts_address: str
    connections: int
    """How many connections one process may hold open to one database server."""

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        environment = Environment(os.environ)
        config = cls(
            server=ServerConfig.from_environment(environment),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS"),
            artifacts_address=environment.text("NAGAYA_ARTIFACTS_ADDRESS"),
            connections=environment.integer("NAGAYA_CONNECTIONS", 20, least=2),
        )
        environment.done()
        return config


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    process: ServerConfig
    """A worker listens nowhere: of the address only the host counts, for its metrics."""
    temporal: TemporalConfig
    tenant_address: str
    artifacts_address: str
    llm_gateway_address: str
    connections: int
    """How many connections one process may hold open to one database server."""
    steps_at_once: int
    """How many llm steps and long functions one process does at once."""

    @classmethod
    def read(cls) -> WorkerConfig:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        environment = Environment({"NAGAYA_LISTEN": "127.0.0.1:0", **os.environ})
        config = cls(
            process=ServerConfig.from_environment(environment),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.text("NAGAYA_TENANT_ADDRESS"),
            artifacts_address=environment.text("NAGAYA_ARTIFACTS_ADDRESS"),
            llm_gateway_address=environment.text("NAGAYA_LLM_GATEWAY_ADDRESS"),
            connections=environment.integer("NAGAYA_CONNECTIONS", 20, least=2),
            steps_at_once=environment.integer("NAGAYA_STEPS_AT_ONCE", 100, least=1),
        )
        environment.done()
        return config
