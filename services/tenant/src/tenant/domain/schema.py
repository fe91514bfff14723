"""How far the databases have come with the services' migrations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from tenant.domain.migrations import Migration

MANAGEMENT = ""
"""Stands in the place of a tenant's id for the management database."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """One database and one service."""

    tenant_id: str
    service: str
    applied_number: int
    published_number: int
    apply_time: datetime | None
    failure: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The last migration of a service that a database's own ledger holds."""

    number: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A migration that could not be applied, and why."""

    migration: Migration
    sqlstate: str
    message: str
    """The database's words. They may hold values of rows, so tenants' are shown to nobody."""

    def __str__(self) -> str:
        return f"{self.sqlstate} in {self.migration.number} {self.migration.name}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one database has come, by service, and what stopped it."""

    applied: dict[str, Applied] = field(default_factory=dict[str, "Applied"])
    failures: dict[str, Failure] = field(default_factory=dict[str, "Failure"])


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication has done."""

    published_count: int
    current_tenant_count: int
    behind_tenant_ids: tuple[str, ...]
