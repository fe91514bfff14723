"""Settings of the processes, read once from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from authentication.oidc.config import OidcConfig
from runs.temporal_config import TemporalConfig
from servicekit import settings
from servicekit.settings import Environment, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tls.address import ServerAddress

_OURS = ("NAGAYA_", "TEMPORAL_")
_TRACING = ("LANGCHAIN_", "LANGSMITH_")
MIGRATIONS = Path(__file__).parent / "migrations"


def read_temporal_config() -> TemporalConfig:
    """Read the process's environment. Raises SettingsInvalid with every problem."""
    return settings.read(TemporalConfig.from_environment, os.environ)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the API process."""

    server: ServerConfig
    oidc: OidcConfig | None
    temporal: TemporalConfig
    tenant_address: ServerAddress
    artifacts_address: ServerAddress
    llm_gateway_address: ServerAddress
    connections: int
    webhook_networks: tuple[IPv4Network | IPv6Network, ...]
    webhook_days: int

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        return cls(
            server=(server := ServerConfig.from_environment(environment)),
            oidc=OidcConfig.from_environment(environment, server),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.peer(
                "NAGAYA_TENANT_ADDRESS", "tenant, `host:port` or `https://host:port`"
            ),
            artifacts_address=environment.peer(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port` or `https://host:port`"
            ),
            llm_gateway_address=environment.peer(
                "NAGAYA_LLM_GATEWAY_ADDRESS", "llm-gateway, `host:port` or `https://host:port`"
            ),
            connections=_connections(environment),
            webhook_networks=_networks(environment),
            webhook_days=environment.integer(
                "NAGAYA_WEBHOOK_DAYS",
                "for how many days an event is sent again that a webhook's receiver does not take",
                default=3,
                least=1,
                most=365,
            ),
        )


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """The processes in which functions run."""

    processes: int
    memory_mib: int
    seconds: float
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """Their environment: the worker's without the worker's own settings."""

    @classmethod
    def from_environment(cls, environment: Environment) -> FunctionConfig:
        return cls(
            processes=environment.integer(
                "NAGAYA_FUNCTION_PROCESSES",
                "the most processes at once in which functions run, apart by tenant; of these too "
                "a tenant holds at most its share",
                default=16,
                least=1,
            ),
            memory_mib=environment.integer(
                "NAGAYA_FUNCTION_MEMORY_MIB",
                "the most memory of such a process, in MiB; on Linux",
                default=1024,
                least=64,
            ),
            seconds=environment.seconds(
                "NAGAYA_FUNCTION_SECONDS",
                "the longest that a function may take, whatever the timeout of its step",
                default=86_400.0,
            ),
        )


@dataclass(frozen=True, slots=True)
class TakenRuns:
    """Which runs a worker does."""

    pipeline_queue: str
    """The pipelines' own task queue that it serves; empty for the common one."""
    tenants: frozenset[str]
    """The only tenants whose runs it does; those of all when empty."""

    @classmethod
    def from_environment(cls, environment: Environment) -> TakenRuns:
        return cls(
            pipeline_queue=environment.text(
                "NAGAYA_PIPELINE_QUEUE",
                "the pipelines that it serves: those with this `task_queue`; those without one "
                "when empty",
                default="",
            ),
            tenants=frozenset(
                environment.text(
                    "NAGAYA_WORKER_TENANTS",
                    "the tenants whose runs it does, by spaces, those of all when empty; no "
                    "other's pipelines may name its queue",
                    default="",
                ).split()
            ),
        )


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The settings of the worker process."""

    process: ServerConfig
    """A worker listens nowhere: of the address only the host counts, for its metrics."""
    temporal: TemporalConfig
    tenant_address: ServerAddress
    artifacts_address: ServerAddress
    llm_gateway_address: ServerAddress
    connections: int
    steps_at_once: int
    tenant_share: int
    functions: FunctionConfig
    build_id: str
    runs: TakenRuns

    @classmethod
    def read(cls) -> WorkerConfig:
        """Read the process's environment. Raises SettingsInvalid with every problem.

        The variables of LangSmith and LangChain are removed from it first: LangGraph would send
        traces of runs to another company, or refuse to run a plan.
        """
        for name in [name for name in os.environ if name.startswith(_TRACING)]:
            del os.environ[name]
        others = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        config = settings.read(cls.from_environment, os.environ)
        return replace(config, functions=replace(config.functions, variables=others))

    @classmethod
    def from_environment(cls, environment: Environment) -> WorkerConfig:
        return cls(
            process=ServerConfig.from_environment(environment, listen=("127.0.0.1", 0)),
            temporal=TemporalConfig.from_environment(environment),
            tenant_address=environment.peer(
                "NAGAYA_TENANT_ADDRESS", "tenant, `host:port` or `https://host:port`"
            ),
            artifacts_address=environment.peer(
                "NAGAYA_ARTIFACTS_ADDRESS", "artifacts, `host:port` or `https://host:port`"
            ),
            llm_gateway_address=environment.peer(
                "NAGAYA_LLM_GATEWAY_ADDRESS", "llm-gateway, `host:port` or `https://host:port`"
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
            functions=FunctionConfig.from_environment(environment),
            build_id=environment.text(
                "NAGAYA_WORKER_BUILD_ID",
                "the build that this worker is: runs stay with the build on which they began; "
                "without it workers take every run",
                default="",
            ),
            runs=TakenRuns.from_environment(environment),
        )


def _networks(environment: Environment) -> tuple[IPv4Network | IPv6Network, ...]:
    text = environment.text(
        "NAGAYA_WEBHOOK_NETWORKS",
        "networks that webhooks may be sent to although they are not public, such as "
        "`10.1.0.0/16, 127.0.0.0/8`; there also without TLS",
        default="",
    )
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        environment.refuse(f"NAGAYA_WEBHOOK_NETWORKS is no list of networks: {error}")
        return ()


def _connections(environment: Environment) -> int:
    return environment.integer(
        "NAGAYA_CONNECTIONS",
        "how many connections this process may hold open to one database server",
        default=20,
        least=2,
    )
