"""Tenants: customers, each with a database of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tenant.domain.databases import Database


class TenantState(StrEnum):
    """The column `tenants.state`."""

    CREATING = "creating"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    PURGING = "purging"

    @property
    def closed(self) -> bool:
        """Whether the tenant's database is to refuse connections."""
        return self in (TenantState.SUSPENDED, TenantState.DELETED, TenantState.PURGING)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A row of the table `tenants`."""

    tenant_id: str
    name: str
    state: TenantState
    generation: int
    server_id: str
    server_labels: Mapping[str, str] = field(hash=False)
    """What the creation asked of the server."""
    database: Database
    request_id: str
    create_time: datetime
    update_time: datetime
    path_prefix: str
    """What the paths of its files begin with; empty for the bucket's name, `/` and its id."""
    delete_time: datetime | None
    purge_time: datetime | None
    """When it is purged by itself, if it is deleted."""

    @property
    def was_active(self) -> bool:
        """Whether its creation has ended."""
        return self.generation > 0


def path_prefix(tenant_id: str) -> str:
    """Return the prefix of the paths of a new tenant's files."""
    return f"storage/{tenant_id}"
