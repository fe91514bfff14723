"""The databases, and the names of what belongs to them."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

SERVICES = ("tenant", "runs", "artifacts", "llm-gateway")
TENANT_PREFIX = "t_"
_STEWARDS = 128
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Database:
    """One database and its roles: a group that may enter, and two logins for each service.

    The group has the database's name, because that is what `samerole` in pg_hba.conf compares.
    """

    name: str
    steward: str = ""
    """The role that manages the database and its roles; empty for the provisioner itself."""

    @property
    def group(self) -> str:
        return self.name

    def runtime(self, service: str) -> str:
        """Return the role that a service works with: it reads and writes its own tables' rows."""
        return f"{self.name}_{service.replace('-', '_')}"

    def migration(self, service: str) -> str:
        """Return the role that owns a service's tables and logs in only to change them."""
        return self.runtime(service) + "_mig"

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role of the database: the group, then the logins."""
        return (self.group, *self.logins)

    @property
    def logins(self) -> tuple[str, ...]:
        """Every role that can enter the database."""
        runtime = map(self.runtime, SERVICES)
        return (*runtime, *map(self.migration, SERVICES))


def template_database(management: Database) -> Database:
    """Name the database in which templates are made, which later are renamed.

    All templates of an installation have the same roles. Tenants' roles are their members, and so
    have their rights on what was copied from a template, but can enter their own database only.
    """
    return Database(f"{management.name}_template", f"{management.name}_steward_template")


def new_tenant_database(management: Database) -> Database:
    """Name a tenant's database: unique, opaque, and sorted by time (a ULID).

    PostgreSQL walks over all that a role manages whenever the role manages one thing more, and a
    tenant is nine roles. Stewards share the tenants among them, so that each walk stays short.
    """
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    ulid = "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
    steward = f"{management.name}_steward_{secrets.randbelow(_STEWARDS):03}"
    return Database(TENANT_PREFIX + ulid, steward)
