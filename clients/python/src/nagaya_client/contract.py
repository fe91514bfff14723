"""Deadlines and retries of each method, read from its contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import MethodOptions

from nagaya.options.v1 import method_policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

_DEFAULT_SECONDS = 30
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
# A server that stops answers CANCELLED to what it has not begun. A refusal that must not come
# again carries `grpc-retry-pushback-ms: -1`, which gRPC heeds.
RETRYABLE = ("UNAVAILABLE", "CANCELLED")
"""The codes after which gRPC may send a repeatable call again by itself."""

_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": RETRYABLE,
}
# Room for 500 calls that are in flight when a server dies, watches included; a server that stays
# away is soon asked once.
_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}


def seconds_by_path(service: ServiceDescriptor) -> dict[str, float]:
    """Return how long each method may take, by its path such as `/nagaya.runs.v1.X/GetRun`."""
    return {f"/{service.full_name}/{method.name}": _seconds(method) for method in service.methods}


def service_config(service: ServiceDescriptor, *, balanced: bool = False) -> str:
    """Return gRPC's service config: retries, for methods that the contract lets be repeated.

    With `balanced` calls are spread over the healthy ones of the servers that a name stands for.
    """
    names = [
        {"service": service.full_name, "method": method.name}
        for method in service.methods
        if is_repeatable(method)
    ]
    config: dict[str, object] = {"retryThrottling": _THROTTLING}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRIES}]
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": service.full_name}
    return json.dumps(config)


def is_repeatable(method: MethodDescriptor) -> bool:
    """Whether gRPC may send the same request again: declared so, and held in memory anyway."""
    return method.GetOptions().idempotency_level in _REPEATABLE and not method.client_streaming


def _seconds(method: MethodDescriptor) -> float:
    policy = method.GetOptions().Extensions[method_policy_pb2.policy]
    return float(policy.max_seconds or _DEFAULT_SECONDS)
