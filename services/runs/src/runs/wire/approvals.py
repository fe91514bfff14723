"""Approvals on the wire, and the steps that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.runs.v1 import approval_pb2 as pb
from nagaya.runs.v1 import pipeline_pb2
from runs.domain.approvals import ApprovalState, Decision, OnTimeout
from runs.domain.pipelines import ApprovalStep, Output
from servicekit.times import timestamp

if TYPE_CHECKING:
    from nagaya.runs.v1 import approval_service_pb2
    from runs.domain.approvals import Approval

_STATES = {
    ApprovalState.OPEN: pb.APPROVAL_STATE_OPEN,
    ApprovalState.APPROVED: pb.APPROVAL_STATE_APPROVED,
    ApprovalState.REJECTED: pb.APPROVAL_STATE_REJECTED,
    ApprovalState.EXPIRED: pb.APPROVAL_STATE_EXPIRED,
    ApprovalState.CLOSED: pb.APPROVAL_STATE_CLOSED,
}
_BY_STATE = {state: status for status, state in _STATES.items()}
_DECISIONS = {
    pb.APPROVAL_DECISION_APPROVE: ApprovalState.APPROVED,
    pb.APPROVAL_DECISION_REJECT: ApprovalState.REJECTED,
}
_ON_TIMEOUT = {
    OnTimeout.FAIL: pipeline_pb2.APPROVAL_TIMEOUT_POLICY_FAIL,
    OnTimeout.APPROVE: pipeline_pb2.APPROVAL_TIMEOUT_POLICY_APPROVE,
    OnTimeout.REJECT: pipeline_pb2.APPROVAL_TIMEOUT_POLICY_REJECT,
}
_BY_POLICY = {policy: on_timeout for on_timeout, policy in _ON_TIMEOUT.items()}


def approval(approval: Approval) -> pb.Approval:
    return pb.Approval(
        approval_id=approval.approval_id,
        run_id=approval.run_id,
        pipeline=approval.pipeline,
        step=approval.step,
        visit=approval.visit,
        state=_STATES[approval.state],
        question=approval.question,
        subjects=[
            artifact_pb2.ArtifactPointer(
                path=each.path, digest=each.digest, json_pointer=each.json_pointer
            )
            for each in approval.subjects
        ],
        user_ids=approval.user_ids,
        permissions=approval.permissions,
        excludes_creator=approval.excludes_creator,
        comment_required=approval.comment_required,
        create_time=timestamp(approval.create_time),
        expire_time=None if approval.expire_time is None else timestamp(approval.expire_time),
        end_time=None if approval.end_time is None else timestamp(approval.end_time),
        user_id=approval.user_id,
        comment=approval.comment,
    )


def approval_state(state: pb.ApprovalState.ValueType) -> ApprovalState | None:
    return _BY_STATE.get(state)


def decision(request: approval_service_pb2.DecideApprovalRequest) -> Decision:
    return Decision(
        request.request_id, request.approval_id, _DECISIONS[request.decision], request.comment
    )


def approval_step(message: pipeline_pb2.ApprovalStep) -> ApprovalStep:
    continues = message.on_reject == pipeline_pb2.REJECTION_POLICY_CONTINUE
    return ApprovalStep(
        question=message.question,
        subjects=tuple(
            Output(each.step, each.json_pointer, each.previous_visit) for each in message.subjects
        ),
        user_ids=tuple(message.user_ids),
        permissions=tuple(message.permissions),
        excludes_creator=message.excludes_creator,
        comment_required=message.comment_required,
        timeout_seconds=-(-message.timeout.ToMilliseconds() // 1_000),
        on_timeout=_BY_POLICY.get(message.on_timeout, OnTimeout.FAIL),
        goes_on_when_rejected=continues,
    )


def approval_step_message(step: ApprovalStep) -> pipeline_pb2.ApprovalStep:
    continues, fails = pipeline_pb2.REJECTION_POLICY_CONTINUE, pipeline_pb2.REJECTION_POLICY_FAIL
    seconds = step.timeout_seconds
    return pipeline_pb2.ApprovalStep(
        question=step.question,
        subjects=[
            pipeline_pb2.OutputRef(step=each.step, json_pointer=each.json_pointer)
            for each in step.subjects
        ],
        user_ids=step.user_ids,
        permissions=step.permissions,
        excludes_creator=step.excludes_creator,
        comment_required=step.comment_required,
        timeout=Duration(seconds=seconds) if seconds else None,
        on_timeout=_ON_TIMEOUT[step.on_timeout],
        on_reject=continues if step.goes_on_when_rejected else fails,
    )
