"""Database servers: where tenants' databases are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MAIN = "main"
"""The server of the management database, whose address is NAGAYA_PG_URL."""

SERVER_LABEL = "server"
"""The label that each server has besides: its id. It says where to create, not where to stay."""

OLDEST_VERSION = 18
"""The oldest version of PostgreSQL that has what the service uses."""


class ServerState(StrEnum):
    """The column `db_servers.state`."""

    ACTIVE = "active"
    DRAINING = "draining"
    """It keeps the tenants that it has, and gets no more."""
    LOST = "lost"
    """It never comes back: what would be closed or dropped there counts as gone."""


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """One thing that was looked at when a server was registered."""

    name: str
    consequence: str = ""
    """What does not work, or is less safe, because it is absent; empty when it is there."""
    remedy: str = ""

    @property
    def passed(self) -> bool:
        return not self.consequence


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What an operator says of a server."""

    labels: Mapping[str, str]
    max_tenants: int = 0
    connection_budget: int = 0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What was found when a server was looked at."""

    version: str
    system_identifier: str
    """Of the cluster (initdb makes it)."""
    checks: tuple[ServerCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """A row of the table `db_servers`."""

    server_id: str
    host: str
    port: int
    state: ServerState
    labels: Mapping[str, str]
    max_tenants: int
    """0 for no limit."""
    connection_budget: int
    """How many connections all services together may hold open to it; 0 for no limit."""
    version: str
    checks: tuple[ServerCheck, ...]
    tenant_count: int
    places_taken: int
    """By its tenants, and those that an operation is bringing there."""
    create_time: datetime
    update_time: datetime

    @property
    def is_full(self) -> bool:
        """Whether it has room for no further tenant."""
        return bool(self.max_tenants) and self.places_taken >= self.max_tenants
