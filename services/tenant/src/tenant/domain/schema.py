"""Which migrations the databases have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from tenant.domain.migrations import Migration

MANAGEMENT = ""
"""The management database, where a tenant id is expected."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Which of one service's migrations one database has."""

    tenant_id: str
    service: str
    applied_number: int
    published_number: int
    apply_time: datetime | None
    failure: str


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """The last migration of a service that a database has."""

    number: int
    time: datetime


@dataclass(frozen=True, slots=True)
class MigrationFailure:
    """A migration that could not be applied, and why."""

    migration: Migration
    sqlstate: str
    message: str
    """PostgreSQL's message. It may quote values of rows, so a tenant's is returned to nobody."""

    def __str__(self) -> str:
        return f"{self.sqlstate} in {self.migration.number} {self.migration.name}"


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """The last applied migration of each service in one database, and the failures, by service."""

    applied: dict[str, AppliedMigration] = field(default_factory=dict[str, "AppliedMigration"])
    failures: dict[str, MigrationFailure] = field(default_factory=dict[str, "MigrationFailure"])


@dataclass(frozen=True, slots=True)
class Publication:
    """The result of PublishMigrations."""

    published_count: int
    current_tenant_count: int
    behind_tenant_ids: tuple[str, ...]
