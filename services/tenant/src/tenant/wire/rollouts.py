"""Conversion of rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import rollout_pb2, schema_service_pb2
from servicekit.times import timestamp
from tenant.domain.operations import OperationState
from tenant.domain.rollouts import RolloutPlan, RolloutTenantState

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from tenant.domain.rollouts import RolloutRecord, RolloutTenant, RolloutWave

_STATES = {
    OperationState.RUNNING: rollout_pb2.ROLLOUT_STATE_RUNNING,
    OperationState.FAILED: rollout_pb2.ROLLOUT_STATE_PAUSED,
    OperationState.DONE: rollout_pb2.ROLLOUT_STATE_DONE,
    OperationState.CANCELLED: rollout_pb2.ROLLOUT_STATE_CANCELLED,
}
_TENANT_STATES = {
    RolloutTenantState.PENDING: rollout_pb2.ROLLOUT_TENANT_STATE_PENDING,
    RolloutTenantState.RUNNING: rollout_pb2.ROLLOUT_TENANT_STATE_RUNNING,
    RolloutTenantState.DONE: rollout_pb2.ROLLOUT_TENANT_STATE_DONE,
    RolloutTenantState.FAILED: rollout_pb2.ROLLOUT_TENANT_STATE_FAILED,
    RolloutTenantState.SKIPPED: rollout_pb2.ROLLOUT_TENANT_STATE_SKIPPED,
}
_ASKED_STATES = {value: state for state, value in _TENANT_STATES.items()}


def plan(request: schema_service_pb2.CreateRolloutRequest) -> RolloutPlan:
    """Convert what a rollout was asked for. Raises RolloutInvalid."""
    return RolloutPlan.parse(
        request.canary_tenant_ids,
        request.canary_count,
        request.wave_percents,
        request.failure_budget,
        request.concurrency,
    )


def rollout(found: RolloutRecord) -> rollout_pb2.Rollout:
    operation = found.operation
    return rollout_pb2.Rollout(
        rollout_id=operation.operation_id,
        state=_STATES[operation.state],
        targets=[
            rollout_pb2.RolloutTarget(service=service, number=number)
            for service, number in found.targets.items()
        ],
        waves=map(_wave, found.waves),
        failure_budget=found.failure_budget,
        concurrency=found.concurrency,
        pause_reason=operation.message if operation.state is OperationState.FAILED else "",
        user_id=operation.user_id,
        create_time=timestamp(operation.create_time),
        update_time=timestamp(operation.update_time),
        end_time=_timestamp(operation.end_time),
    )


def tenant(found: RolloutTenant) -> rollout_pb2.RolloutTenant:
    return rollout_pb2.RolloutTenant(
        tenant_id=found.tenant_id,
        wave=found.wave,
        state=_TENANT_STATES[found.state],
        failure=found.failure,
        begin_time=_timestamp(found.begin_time),
        end_time=_timestamp(found.end_time),
    )


def tenant_state(asked: rollout_pb2.RolloutTenantState.ValueType) -> RolloutTenantState | None:
    """Return the state that a list is limited to; None for all."""
    return _ASKED_STATES.get(asked)


def _wave(wave: RolloutWave) -> rollout_pb2.RolloutWave:
    return rollout_pb2.RolloutWave(
        number=wave.number,
        tenant_count=wave.tenant_count,
        done_count=wave.done_count,
        failed_count=wave.failed_count,
        skipped_count=wave.skipped_count,
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)
