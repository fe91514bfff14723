"""What the whole service stands on: how it reaches databases, and what changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dataplane.databases import Databases
from dataplane.tenants import ManagementPool
from tenant.app.bootstrap import Bootstrap
from tenant.app.key_source import KeySource
from tenant.app.startup import own_migrations
from tenant.config import MIGRATIONS
from tenant.creation import TenantActivation
from tenant.domain.databases import AuditRoles
from tenant.domain.encryption import KeyRing
from tenant.domain.servers import MAIN
from tenant.key_config import AwsKmsConfig, VaultConfig
from tenant.key_management.vault import VaultTransit
from tenant.provisioning import Provisioning
from tenant.rollout.audit_protection import AuditProtection
from tenant.rollout.migrator import Migrator
from tenant.rollout.rollout import Rollout
from tenant.rollout.template import TemplateDatabase
from tenant.store.database_servers import DatabaseServers
from tenant.store.locks import AdvisoryLocks
from tenant.store.server import APPLICATION, ProvisionedServer

if TYPE_CHECKING:
    from tenant.config import Config
    from tenant.database_tls import DatabaseTls
    from tenant.domain.migrations import Migration

_MANAGEMENT_CONNECTIONS = 30
_LOCK_LIMIT = 6


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the service reaches databases with, and what changes them."""

    keys: KeySource
    key_ring: KeyRing
    migrations: list[Migration]
    bootstrap: Bootstrap
    to_management: Databases
    management: ManagementPool
    locks: AdvisoryLocks
    servers: DatabaseServers
    database_tls: DatabaseTls
    rollout: Rollout
    protection: AuditProtection
    template: TemplateDatabase
    provisioning: Provisioning
    activation: TenantActivation

    @classmethod
    def construct(cls, config: Config) -> Self:
        keys, migrations = _key_source(config), own_migrations(MIGRATIONS)
        key_ring = keys.ring
        limit, migrator = config.connections_per_role, Migrator()
        main = ProvisionedServer(MAIN, config.database)
        protection = AuditProtection(AuditRoles(main.management))
        bootstrap = Bootstrap(main, migrator, migrations, keys, limit, protection)
        to_management = Databases(
            bootstrap.connection_parameters, APPLICATION, _MANAGEMENT_CONNECTIONS
        )
        management = ManagementPool(to_management)
        locks = AdvisoryLocks(management, _LOCK_LIMIT)
        servers = DatabaseServers(main, management, key_ring)
        required = config.required_services
        template = TemplateDatabase(servers, migrator, locks, required, protection)
        rollout = Rollout(servers, migrator)
        return cls(
            keys,
            key_ring,
            migrations,
            bootstrap,
            to_management,
            management,
            locks,
            servers,
            config.database_tls,
            rollout,
            protection,
            template,
            Provisioning(servers, template, migrator, key_ring, limit, protection),
            TenantActivation(rollout),
        )

    async def close(self) -> None:
        self.to_management.close()
        await self.to_management.settled()
        await self.servers.close()
        await self.servers.main.close()


def _key_source(config: Config) -> KeySource:
    """Construct where keys come from, by the settings."""
    ring, file = KeyRing.empty(), config.key_ring_file
    match config.key_management:
        case VaultConfig() as vault:
            transit = VaultTransit(
                vault.address, vault.mount, vault.key_name, vault.token_file, vault.namespace
            )
            return KeySource(ring, file, transit, f"vault {vault.mount}/{vault.key_name}")
        case AwsKmsConfig() as aws:
            from tenant.key_management.aws import AwsKms  # noqa: PLC0415 - it takes 12 MB

            kms = AwsKms(aws.region, aws.key_id, aws.endpoint)
            return KeySource(ring, file, kms, f"aws {aws.key_id}")
        case None:
            return KeySource(ring, file, None, "")
