"""What belongs to no tenant, or lacks what it should have, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What was found."""

    DATABASE = "database"
    """A database that no tenant has."""
    ROLES = "roles"
    """Roles whose database there is not, and that no tenant has."""
    DATA = "data"
    """Something that a service keeps of a tenant that there is not."""
    DATABASE_MISSING = "database_missing"
    """A tenant whose database there is not."""
    REPLICATION_SLOT = "replication_slot"
    """A replication slot that no move needs."""
    UNFINISHED = "unfinished"
    """A tenant whose creation stopped, or whose purge has failed."""


class FindingAction(StrEnum):
    """What was done about it."""

    REMOVED = "removed"
    WOULD_REMOVE = "would_remove"
    """It was a dry run."""
    KEPT = "kept"
    """It might be wanted: only who runs the installation can tell."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: FindingKind
    name: str
    """By which RepairTenants removes it if it is told to, such as `main/t_01…` or `runs/acme`."""
    description: str
    action: FindingAction
    hint: str = ""
