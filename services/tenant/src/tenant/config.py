"""The settings of the tenant service, read from the environment once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from servicekit import settings
from servicekit.settings import Environment, ServerConfig

MIGRATIONS = Path(__file__).parent / "migrations"
_DEFAULT_PORT = 5432
_SERVICES = ("runs", "artifacts", "llm-gateway")
_MANAGEMENT_NAME = re.compile(r"[a-z_][a-z0-9_]{0,37}")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """How the provisioner logs in to the management database."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @classmethod
    def parse(cls, url: str) -> DatabaseAddress:
        """Read `postgresql://user:password@host:port/database`. Raises ValueError."""
        parts = urlsplit(url)
        name = unquote(parts.path.removeprefix("/"))
        if (
            parts.scheme not in ("postgresql", "postgres")
            or not parts.hostname
            or not parts.username
        ):
            raise ValueError("it is not postgresql://user:password@host:port/database")
        if not _MANAGEMENT_NAME.fullmatch(name):
            raise ValueError(f"the database {name!r} is not lower-case letters, digits and _")
        if name == parts.username:
            raise ValueError("the database has the role's name, which is kept for its group role")
        if parts.query:
            raise ValueError("it has parameters; TLS is set by PGSSLMODE and its like")
        port = parts.port or _DEFAULT_PORT
        return cls(parts.hostname, port, parts.username, unquote(parts.password or ""), name)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of the process."""

    server: ServerConfig
    database: DatabaseAddress
    key_ring: str = field(repr=False)
    """The key ring's file, as text."""
    required_services: tuple[str, ...]
    connections_per_role: int
    processes_per_service: int

    @classmethod
    def read(cls) -> Config:
        """Read the process's environment. Raises SettingsInvalid with every problem."""
        return settings.read(cls.from_environment, os.environ)

    @classmethod
    def from_environment(cls, environment: Environment) -> Config:
        return cls(
            server=ServerConfig.from_environment(environment),
            database=_database(environment),
            key_ring=environment.secret_file(
                "NAGAYA_KEYRING_FILE", "the key ring that seals passwords; mode 0600"
            ),
            required_services=_required_services(environment),
            connections_per_role=environment.integer(
                "NAGAYA_CONNECTIONS_PER_ROLE",
                "how many connections each service's role may hold to one database, all of its "
                "processes together",
                default=20,
                least=1,
                most=1000,
            ),
            processes_per_service=environment.integer(
                "NAGAYA_PROCESSES_PER_SERVICE",
                "among how many processes of a service these are shared out: its replicas, "
                "workers, and those that a deployment starts before it ends the old ones",
                default=2,
                least=1,
                most=1000,
            ),
        )


def _database(environment: Environment) -> DatabaseAddress:
    url = environment.text(
        "NAGAYA_PG_URL",
        "`postgresql://role:password@host:port/database`: the provisioner, and the management "
        "database, which it owns; TLS by `PGSSLMODE` and its like",
    )
    try:
        return DatabaseAddress.parse(url)
    except ValueError as error:
        if url:
            environment.refuse(f"NAGAYA_PG_URL: {error}")
        return DatabaseAddress("", 0, "", "", "")


def _required_services(environment: Environment) -> tuple[str, ...]:
    text = environment.text(
        "NAGAYA_REQUIRED_SERVICES",
        "who must have published before a tenant can be created",
        default=",".join(_SERVICES),
    )
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in _SERVICES:
            environment.refuse(
                f"NAGAYA_REQUIRED_SERVICES: {name!r} is none of {', '.join(_SERVICES)}"
            )
    return names
