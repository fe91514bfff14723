"""A client that repeats nothing but what gRPC repeats by itself: what certainly was not handled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc

from nagaya.artifacts.v1 import artifact_service_pb2_grpc
from nagaya.llm_gateway.v1 import call_service_pb2_grpc, catalog_service_pb2_grpc
from nagaya.runs.v1 import prompt_service_pb2_grpc, run_service_pb2_grpc
from nagaya.tenant.v1 import tenant_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_BALANCED = """
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
"""


class BareClient:
    """gRPC's own stubs, by the names that they have in the client of `nagaya_client`."""

    def __init__(self, addresses: Mapping[str, str], token: str) -> None:
        self.metadata = (("authorization", f"Bearer {token}"),)
        """What each call has to carry."""
        opened = {service: _open(address) for service, address in addresses.items()}
        self._channels = opened.values()
        self.tenants = tenant_service_pb2_grpc.TenantServiceStub(opened["tenant"])
        self.runs = run_service_pb2_grpc.RunServiceStub(opened["runs"])
        self.prompts = prompt_service_pb2_grpc.PromptServiceStub(opened["runs"])
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(opened["artifacts"])
        self.calls = call_service_pb2_grpc.CallServiceStub(opened["llm-gateway"])
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(opened["llm-gateway"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels:
            await channel.close()


def _open(address: str) -> grpc.aio.Channel:
    config = _BALANCED if address.startswith("dns:") else "{}"
    return grpc.aio.insecure_channel(address, [("grpc.service_config", config)])
