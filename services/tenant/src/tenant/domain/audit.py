"""Entries of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditLog:
    """A row of the table `audit_logs`; `digest` chains it to the one before."""

    sequence: int
    user_id: str
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, object] | None
    database_role: str
    create_time: datetime
    digest: str
