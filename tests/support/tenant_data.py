"""TenantDataService as the other services serve it, over stores in the memory of a test."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from interceptor.server import bind
from interceptor.testing import serve
from nagaya.tenant_data.v1 import tenant_data_service_pb2_grpc
from tenantdata.servicer import TenantDataServicer
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from interceptor.server import Binding
    from servicekit.testing import Keys
    from tenant.config import Config


class MemoryStore:
    """Things of tenants; `stubborn` ones come back so often after they were removed."""

    method = "forgetting"

    def __init__(self, name: str) -> None:
        self.name = name
        self.things: dict[str, int] = {}
        self.stubborn = 0

    async def count(self, tenant_id: str) -> int:
        return self.things.get(tenant_id, 0)

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        removed = self.things.pop(tenant_id, 0)
        if self.stubborn and removed:
            self.stubborn -= 1
            self.things[tenant_id] = 1
        yield removed

    async def tenant_ids(self) -> AsyncIterator[str]:
        for tenant_id in self.things:
            yield tenant_id

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        del tenant_id
        return (f"{self.name} may remember.",)


class MemoryPeers:
    """The stores of runs, llm-gateway and artifacts."""

    def __init__(self) -> None:
        self.stores = {
            service: MemoryStore(f"memory of {service}")
            for service in ("runs", "llm-gateway", "artifacts")
        }

    def fill(self, tenant_id: str, count: int = 7) -> None:
        for store in self.stores.values():
            store.things[tenant_id] = count

    @asynccontextmanager
    async def serving(self, keys: Keys, config: Config) -> AsyncGenerator[Config]:
        """Serve them; yield a configuration of the tenant service that knows where."""
        async with (
            serve(keys, _binding(self.stores["runs"])) as runs,
            serve(keys, _binding(self.stores["llm-gateway"])) as gateway,
            serve(keys, _binding(self.stores["artifacts"])) as artifacts,
        ):
            servers = {"runs": runs, "llm-gateway": gateway, "artifacts": artifacts}
            peers = {name: ServerAddress.parse(one.address) for name, one in servers.items()}
            yield replace(config, peers=peers)


def _binding(store: MemoryStore) -> Binding:
    return bind(
        tenant_data_service_pb2_grpc.add_TenantDataServiceServicer_to_server,
        TenantDataServicer((store,), ()),
        "nagaya.tenant_data.v1.TenantDataService",
    )
