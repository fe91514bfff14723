"""Every store there is; they hold no state but the key ring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenant.store.audit_logs import AuditLogStore
from tenant.store.databases import DatabaseStore
from tenant.store.identities import IdentityStore
from tenant.store.installation import InstallationStore
from tenant.store.ledger import LedgerStore
from tenant.store.migrations import MigrationStore
from tenant.store.roles import RoleStore
from tenant.store.sagas import SagaStore
from tenant.store.schema_states import SchemaStateStore
from tenant.store.tenants import TenantStore

if TYPE_CHECKING:
    from tenant.store.credentials import CredentialStore


@dataclass(frozen=True, slots=True)
class Stores:
    credentials: CredentialStore
    audit_logs: AuditLogStore = field(default_factory=AuditLogStore)
    databases: DatabaseStore = field(default_factory=DatabaseStore)
    identities: IdentityStore = field(default_factory=IdentityStore)
    installation: InstallationStore = field(default_factory=InstallationStore)
    ledger: LedgerStore = field(default_factory=LedgerStore)
    migrations: MigrationStore = field(default_factory=MigrationStore)
    roles: RoleStore = field(default_factory=RoleStore)
    sagas: SagaStore = field(default_factory=SagaStore)
    schema_states: SchemaStateStore = field(default_factory=SchemaStateStore)
    tenants: TenantStore = field(default_factory=TenantStore)
