"""Conversion between messages and the domain: operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import operation_pb2
from servicekit.times import timestamp
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from tenant.domain.operations import Operation

_STATES = {
    OperationState.RUNNING: operation_pb2.OPERATION_STATE_RUNNING,
    OperationState.FAILED: operation_pb2.OPERATION_STATE_FAILED,
    OperationState.DONE: operation_pb2.OPERATION_STATE_DONE,
    OperationState.CANCELLED: operation_pb2.OPERATION_STATE_CANCELLED,
}


def operation(operation: Operation) -> operation_pb2.Operation:
    progress, error = operation.progress, None
    if operation.state is OperationState.FAILED:
        error = operation_pb2.OperationError(reason=operation.reason, message=operation.message)
    return operation_pb2.Operation(
        operation_id=operation.operation_id,
        kind=operation_pb2.OperationKind.Value(f"OPERATION_KIND_{operation.kind.upper()}"),
        tenant_id=operation.tenant_id,
        request_id=operation.request_id,
        state=_STATES[operation.state],
        step=operation.step,
        progress=None
        if progress is None
        else operation_pb2.OperationProgress(
            done=progress.done, total=progress.total, unit=progress.unit
        ),
        error=error,
        stuck_reason=operation.stuck_reason,
        result=operation.result,
        user_id=operation.user_id,
        create_time=timestamp(operation.create_time),
        update_time=timestamp(operation.update_time),
        end_time=None if operation.end_time is None else timestamp(operation.end_time),
    )


def state(given: operation_pb2.OperationState.ValueType) -> OperationState | None:
    return next((known for known, sent in _STATES.items() if sent == given), None)
