"""Webhooks on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import webhook_pb2 as pb
from runs.domain.webhooks import (
    Delivery,
    DeliveryState,
    EndpointState,
    WebhookEndpoint,
    WebhookSpec,
)
from servicekit.times import timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

_ENDPOINT_STATES = {
    EndpointState.ENABLED: pb.WEBHOOK_ENDPOINT_STATE_ENABLED,
    EndpointState.DISABLED: pb.WEBHOOK_ENDPOINT_STATE_DISABLED,
}
_DELIVERY_STATES = {
    DeliveryState.PENDING: pb.WEBHOOK_DELIVERY_STATE_PENDING,
    DeliveryState.DELIVERED: pb.WEBHOOK_DELIVERY_STATE_DELIVERED,
    DeliveryState.DEAD: pb.WEBHOOK_DELIVERY_STATE_DEAD,
}
_OF_WIRE = {value: state for state, value in _DELIVERY_STATES.items()}


def webhook_spec(message: pb.WebhookSpec) -> WebhookSpec:
    return WebhookSpec(message.url, tuple(message.event_types), tuple(message.pipelines))


def delivery_state(value: pb.WebhookDeliveryState.ValueType) -> DeliveryState | None:
    return _OF_WIRE.get(value)


def webhook_endpoint(found: WebhookEndpoint) -> pb.WebhookEndpoint:
    return pb.WebhookEndpoint(
        endpoint=found.name,
        spec=pb.WebhookSpec(
            url=found.spec.url,
            event_types=found.spec.event_types,
            pipelines=found.spec.pipelines,
        ),
        state=_ENDPOINT_STATES[found.state],
        disabled_reason=found.disabled_reason,
        pending_runs=found.pending_runs,
        failing_runs=found.failing_runs,
        dead_runs=found.dead_runs,
        user_id=found.user_id,
        create_time=timestamp(found.create_time),
        update_time=timestamp(found.update_time),
    )


def webhook_delivery(found: Delivery) -> pb.WebhookDelivery:
    return pb.WebhookDelivery(
        endpoint=found.endpoint,
        run_id=found.run_id,
        state=_DELIVERY_STATES[found.state],
        next_sequence=found.next_sequence,
        attempts=found.attempts,
        failing_since=_optional(found.failing_since),
        retry_time=_optional(found.retry_time),
        failure=found.failure,
        delivery_time=_optional(found.delivery_time),
    )


def _optional(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)
