"""Approvals: questions of runs that people decide."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from nagaya_functions import FilePointer

APPROVED = "approved"
REJECTED = "rejected"


class ApprovalState(StrEnum):
    """As the column `approvals.state` holds it."""

    OPEN = "open"
    APPROVED = APPROVED
    REJECTED = REJECTED
    EXPIRED = "expired"
    CLOSED = "closed"


class OnTimeout(StrEnum):
    """What comes of an approval that nobody has decided in time."""

    FAIL = "fail"
    APPROVE = APPROVED
    REJECT = REJECTED


@dataclass(frozen=True, slots=True)
class ApprovalDraft:
    """What is asked, and who may decide."""

    question: str
    subjects: Sequence[FilePointer]
    user_ids: Sequence[str]
    permissions: Sequence[str]
    excludes_creator: bool
    comment_required: bool
    timeout_seconds: int
    """0 when it is waited for without end."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval as its row tells it."""

    approval_id: str
    run_id: str
    pipeline: str
    step: str
    visit: int
    state: ApprovalState
    question: str
    subjects: Sequence[FilePointer]
    user_ids: Sequence[str]
    permissions: Sequence[str]
    excludes_creator: bool
    comment_required: bool
    create_time: datetime
    expire_time: datetime | None
    end_time: datetime | None
    user_id: str
    comment: str
    request_id: str
    creator: str
    """The person who created the run."""
    remaining_ms: int
    """How long it is still waited for, by the database's clock; 0 without an end."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person has decided."""

    request_id: str
    approval_id: str
    state: ApprovalState
    """APPROVED or REJECTED."""
    comment: str
