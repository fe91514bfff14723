"""Secrets of tenants, which the tenant service keeps encrypted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import secret_service_pb2 as pb
from nagaya.tenant.v1 import secret_service_pb2_grpc
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    import grpc

_KNOWN_SECONDS = 300.0
_MOST_KNOWN = 10_000


class TenantSecrets:
    """Makes secrets and remembers them for some minutes. Methods raise DomainError."""

    def __init__(self, tenant_channel: grpc.aio.Channel) -> None:
        self._stub = secret_service_pb2_grpc.SecretServiceStub(tenant_channel)
        self._known: dict[tuple[str, str], tuple[str, float]] = {}

    async def ensure(self, tenant_id: str, name: str) -> str:
        """Return the secret of a name; a random one of 32 bytes in base64 if there is none yet."""
        found, until = self._known.get((tenant_id, name), ("", 0.0))
        if until > time.monotonic():
            return found
        request = pb.EnsureTenantSecretRequest(tenant_id=tenant_id, name=name)
        with on_behalf_of(tenant_id):
            secret = (await self._stub.EnsureTenantSecret(request)).secret
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[tenant_id, name] = (secret, time.monotonic() + _KNOWN_SECONDS)
        return secret

    async def delete(self, tenant_id: str, name: str) -> None:
        """Delete the secret of a name; nothing happens if there is none."""
        self._known.pop((tenant_id, name), None)
        request = pb.DeleteTenantSecretRequest(tenant_id=tenant_id, name=name)
        with on_behalf_of(tenant_id):
            await self._stub.DeleteTenantSecret(request)
