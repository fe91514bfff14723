"""Secrets that services keep for tenants."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

from tenant.errors import TenantNotFound
from tenant.store import tenant_secrets as store

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.domain.encryption import KeyRing

_BYTES = 32


class TenantSecrets:
    """Makes, shows and deletes them; a service sees its own."""

    def __init__(self, management: ManagementPool, key_ring: KeyRing) -> None:
        self._management = management
        self._key_ring = key_ring

    async def ensure(self, tenant_id: str, service: str, name: str) -> str:
        """Return the secret of a name; a random one if there is none yet. Raises TenantNotFound."""
        made = base64.b64encode(secrets.token_bytes(_BYTES)).decode()
        async with self._management.connection() as connection:
            found = await store.ensure(connection, self._key_ring, tenant_id, service, name, made)
        if found is None:
            raise TenantNotFound(tenant_id)
        return found

    async def delete(self, tenant_id: str, service: str, name: str) -> None:
        """Delete the secret of a name; nothing happens if there is none."""
        async with self._management.connection() as connection:
            await store.delete(connection, tenant_id, service, name)
