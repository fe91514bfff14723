"""Errors of approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import Conflict, Forbidden, InvalidInput, NotFound

if TYPE_CHECKING:
    from datetime import datetime


class ApprovalNotFound(NotFound):
    """The tenant has no approval with this id."""

    reason = "ERROR_REASON_APPROVAL_NOT_FOUND"
    hint = "List what may be decided with ListApprovals."

    def __init__(self, approval_id: str) -> None:
        super().__init__(f"there is no approval {approval_id}", approval_id=approval_id)


class ApproverNotAllowed(Forbidden):
    """A person decides whom the step does not let."""

    reason = "ERROR_REASON_APPROVER_NOT_ALLOWED"
    hint = "GetApproval tells who may decide; ask one of them."

    def __init__(self, approval_id: str, user_id: str) -> None:
        super().__init__(
            f"{user_id} may not decide this approval", approval_id=approval_id, user_id=user_id
        )


class CommentMissing(InvalidInput):
    """A decision has no comment, and the step asks for one."""

    reason = "ERROR_REASON_COMMENT_MISSING"
    hint = "Say why in `comment`."

    def __init__(self, approval_id: str) -> None:
        super().__init__("this decision needs a comment", approval_id=approval_id)


class ApprovalDecided(Conflict):
    """Somebody has decided before."""

    reason = "ERROR_REASON_APPROVAL_DECIDED"
    hint = "A decision is final. GetApproval shows it."

    def __init__(self, approval_id: str, state: str, user_id: str) -> None:
        super().__init__(
            f"the approval was {state} by {user_id}",
            approval_id=approval_id,
            state=state,
            user_id=user_id,
        )


class ApprovalExpired(Conflict):
    """The time to decide is over."""

    reason = "ERROR_REASON_APPROVAL_EXPIRED"
    hint = "The pipeline says what happens then; RetryRun of a run that has failed asks again."

    def __init__(self, approval_id: str, expire_time: datetime) -> None:
        moment = expire_time.isoformat(timespec="seconds")
        super().__init__(
            f"the time to decide was over at {moment}",
            approval_id=approval_id,
            expire_time=moment,
        )


class ApprovalClosed(Conflict):
    """The run has ended before anybody decided."""

    reason = "ERROR_REASON_APPROVAL_CLOSED"
    hint = "GetRun tells how the run ended."

    def __init__(self, approval_id: str) -> None:
        super().__init__("the run has ended, so nothing is asked", approval_id=approval_id)
