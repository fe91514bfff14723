"""Operations: pieces of work that take longer than a call, each a row that can be watched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from tenant.domain.databases import Database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

RESULT = "result"
"""The note that callers see: names and values of what the operation has made."""


class OperationKind(StrEnum):
    """What an operation does: the column `operations.kind`."""

    CREATE_TENANT = "create_tenant"
    PURGE_TENANT = "purge_tenant"
    MOVE_TENANT = "move_tenant"
    CLONE_TENANT = "clone_tenant"
    CREATE_BACKUP = "create_backup"
    RESTORE_BACKUP = "restore_backup"
    VERIFY_BACKUP = "verify_backup"
    EXPORT_TENANT = "export_tenant"
    IMPORT_TENANT = "import_tenant"
    ROLLOUT = "rollout"
    ROTATE_PASSWORDS = "rotate_passwords"
    ROTATE_KEYS = "rotate_keys"
    DRAIN_SERVER = "drain_server"


class OperationState(StrEnum):
    """The column `operations.state`."""

    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a step is done, in units such as `bytes`; `total` 0 where it is not known."""

    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table `operations`."""

    operation_id: str
    kind: OperationKind
    tenant_id: str
    """Empty where it concerns no single tenant."""
    request_id: str
    arguments: Mapping[str, object]
    """What it was begun with; JSON, without secrets."""
    state: OperationState
    step: str
    """The last completed step; empty when none is."""
    notes: Mapping[str, object]
    """What completed steps have left for later ones; JSON, without secrets."""
    progress: Progress | None
    """Of the step under way."""
    reason: str
    """Why it failed: a value of ErrorReason; empty unless it has."""
    message: str
    stuck_reason: str
    """Why it waits, such as that a server is away; empty when it does not."""
    cancel_requested: bool
    user_id: str
    create_time: datetime
    update_time: datetime
    end_time: datetime | None

    @property
    def result(self) -> Mapping[str, str]:
        """What it has made, such as the id of a certificate."""
        found = cast("Mapping[str, str]", self.notes.get(RESULT, {}))
        return {name: str(value) for name, value in found.items()}

    @property
    def databases(self) -> list[tuple[str, Database]]:
        """The databases that its notes name, with their servers; they need not exist."""
        notes = cast("Mapping[str, Any]", self.notes)
        named = [notes[name] for name in ("old", "new") if name in notes]  # of a move
        if "manager" in notes:
            named.append(notes)
        if "old_manager" in notes:  # of a restoration
            named.append(
                {name: notes[f"old_{name}"] for name in ("server_id", "database", "manager")}
            )
        return [(one["server_id"], Database(one["database"], one["manager"])) for one in named]

    @property
    def ended(self) -> bool:
        return self.state is not OperationState.RUNNING
