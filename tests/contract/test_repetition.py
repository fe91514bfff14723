"""Our clients repeat what docs/errors.md lets a client repeat, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.llm_gateway.v1 import generation_service_pb2
from nagaya.runs.v1 import run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client import contract
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

SERVICES = [
    tenant_service_pb2.DESCRIPTOR.services_by_name["TenantService"],
    run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
    artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"],
    generation_service_pb2.DESCRIPTOR.services_by_name["GenerationService"],
]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
async def test_services_and_the_client_have_the_same_rules(
    service: ServiceDescriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(contract.service_config(service))
    other = await _config_of_a_service(service, monkeypatch)
    ours = _retried(config)
    assert ours == _retried(other)
    assert config["retryThrottling"] == other["retryThrottling"]
    assert ours


def _retried(config: dict[str, Any]) -> set[str]:
    """Return the paths that are repeated; the codes after which are checked."""
    paths = set[str]()
    for method in config.get("methodConfig", ()):
        assert method["retryPolicy"]["retryableStatusCodes"] == list(contract.RETRYABLE)
        paths |= {f"/{name['service']}/{name['method']}" for name in method["name"]}
    return paths


async def _config_of_a_service(
    service: ServiceDescriptor, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return the service config with which a service of ours opens its channel to a peer."""
    options_of_channel: dict[str, Any] = {}
    connect = grpc.aio.insecure_channel

    def note(address: str, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
        options_of_channel.update(options)
        return connect(address, options)

    monkeypatch.setattr(grpc.aio, "insecure_channel", note)
    async with open_channel("127.0.0.1:1", None, "a token") as channel:
        channel.unary_unary(f"/{service.full_name}/{service.methods[0].name}")
    return json.loads(options_of_channel["grpc.service_config"])
