"""Approvals: deciding them.

The decision is recorded first, with the message to the run's workflow. Then the workflow is told;
if that fails, or this process ends before, a relay does it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.approvals import ApprovalState
from runs.errors import RequestIdReused, TemporalUnavailable
from runs.errors.approvals import (
    ApprovalClosed,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalNotFound,
    ApproverNotAllowed,
    CommentMissing,
)
from runs.store import approvals, outbox
from servicekit.call import current_principal

if TYPE_CHECKING:
    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.tenants import TenantPools
    from runs.api.launcher import Launcher
    from runs.domain.approvals import Approval, Decision
    from servicekit.errors import DomainError
    from servicekit.identity import Principal

_log = logging.getLogger(__name__)


class Approvals:
    """Decides approvals."""

    def __init__(
        self, tenants: TenantPools, scheduler: PendingWorkScheduler, launcher: Launcher
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._launcher = launcher

    async def decide(self, tenant_id: str, decision: Decision) -> Approval:
        """Decide an open approval, once.

        A repeated `request_id` returns what its first call decided, or raises RequestIdReused if
        the content differs. Raises ApprovalNotFound, ApproverNotAllowed, CommentMissing,
        ApprovalDecided, ApprovalExpired and ApprovalClosed.
        """
        approver = current_principal()
        async with self._tenants.connection(tenant_id) as connection:
            approval = await approvals.find(connection, decision.approval_id)
        if approval is None:
            raise ApprovalNotFound(decision.approval_id)
        if not _may_decide(approval, approver):
            raise ApproverNotAllowed(decision.approval_id, approver.user_id)
        if approval.comment_required and not decision.comment.strip():
            raise CommentMissing(decision.approval_id)
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            decided = await approvals.decide(connection, decision, approver.user_id)
            ended = await approvals.find(connection, decision.approval_id) or approval
            if not decided:
                return _repeated(ended, decision, approver)
            message_id = await outbox.add_again(connection, ended.run_id, "decision")
            details = {"decision": decision.state.value, "run_id": ended.run_id}
            await audit.append(
                connection, "approval.decide", "approval", ended.approval_id, details
            )
        await self._tell(tenant_id, ended.run_id, message_id)
        return ended

    async def _tell(self, tenant_id: str, run_id: str, message_id: int) -> None:
        """Have the run's workflow look for decisions, or leave it to a relay."""
        try:
            await self._launcher.tell_of_decision(tenant_id, run_id)
        except TemporalUnavailable as error:
            _log.info(
                "a relay will tell the run of a decision",
                extra={
                    "event": "run.decision_left_to_relay",
                    "run_id": run_id,
                    "why": error.message,
                },
            )
            return
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.remove_message(connection, message_id)


def _may_decide(approval: Approval, approver: Principal) -> bool:
    if approval.excludes_creator and approver.user_id == approval.creator:
        return False
    if not approval.user_ids and not approval.permissions:
        return True
    return approver.user_id in approval.user_ids or any(map(approver.may, approval.permissions))


def _repeated(approval: Approval, decision: Decision, approver: Principal) -> Approval:
    """Return an approval that the same request has decided. Raises why it cannot be decided."""
    if approval.request_id != decision.request_id:
        raise _refusal(approval)
    given = (approval.state, approval.user_id, approval.comment)
    if given != (decision.state, approver.user_id, decision.comment):
        raise RequestIdReused(decision.request_id, "decision")
    return approval


def _refusal(approval: Approval) -> DomainError:
    match approval.state:
        case ApprovalState.APPROVED | ApprovalState.REJECTED:
            return ApprovalDecided(approval.approval_id, approval.state, approval.user_id)
        case ApprovalState.CLOSED:
            return ApprovalClosed(approval.approval_id)
        case _:
            until = approval.expire_time or approval.create_time
            return ApprovalExpired(approval.approval_id, until)
