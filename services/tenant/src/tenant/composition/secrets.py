"""Constructs what rotates keys and passwords."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenant.app.key_rotation import KeyRotation
from tenant.app.password_rotation import PasswordRotation
from tenant.app.tenant_secrets import TenantSecrets
from tenant.servicer.secrets import SecretServicer

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.app.key_source import KeySource
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga
    from tenant.store.database_servers import DatabaseServers


@dataclass(frozen=True, slots=True)
class SecretComposition:
    """Where keys come from, the rotations, and the servicer by which they are called."""

    source: KeySource
    keys: KeyRotation
    passwords: PasswordRotation
    servicer: SecretServicer

    @property
    def sagas(self) -> tuple[Saga, ...]:
        return (self.keys.saga, self.passwords.saga)


def compose_secrets(
    management: ManagementPool, begun: Operations, servers: DatabaseServers, keys: KeySource
) -> SecretComposition:
    """Construct the rotations."""
    of_keys = KeyRotation(management, begun, keys)
    of_passwords = PasswordRotation(management, begun, servers, keys.ring)
    servicer = SecretServicer(of_keys, of_passwords, TenantSecrets(management, keys.ring))
    return SecretComposition(keys, of_keys, of_passwords, servicer)
