"""The names of databases and of their roles."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

SERVICES = ("tenant", "runs", "artifacts", "llm-gateway")
TENANT_PREFIX = "t_"
# What a database's comment says after the installation's marker.
CREATING = "creating"
READY = "ready"
OPERATION = "operation "
"""Followed by the id of the operation that the database is made for."""
_MANAGER_ROLES = 128
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Database:
    """One database and its roles: a group role with CONNECT, and two login roles for each service.

    The group has the database's name, because that is what `samerole` in pg_hba.conf compares.
    """

    name: str
    manager: str = ""
    """The role that manages the database and its roles; empty for the provisioner itself."""

    @property
    def group(self) -> str:
        return self.name

    def runtime(self, service: str) -> str:
        """Return a service's runtime role, which reads and writes the rows of its tables."""
        return f"{self.name}_{service.replace('-', '_')}"

    def migration(self, service: str) -> str:
        """Return a service's migration role, which owns its tables and logs in only to migrate."""
        return self.runtime(service) + "_mig"

    @property
    def roles(self) -> tuple[str, ...]:
        """The group role, then the login roles."""
        return (self.group, *self.logins)

    @property
    def logins(self) -> tuple[str, ...]:
        """The runtime roles, then the migration roles."""
        runtime = map(self.runtime, SERVICES)
        return (*runtime, *map(self.migration, SERVICES))


@dataclass(frozen=True, slots=True)
class AuditRoles:
    """The roles that keep the audit tables of an installation from all logins."""

    management: Database

    @property
    def owner(self) -> str:
        """The owner of the audit tables."""
        return f"{self.management.name}_audit"

    @property
    def handover(self) -> str:
        """The owner of the function that gives the tables to `owner`."""
        return f"{self.management.name}_audit_handover"

    @property
    def maker(self) -> str:
        """Who creates the other two, and is dropped afterwards."""
        return f"{self.management.name}_audit_maker"

    @property
    def base(self) -> str:
        """The database without tables of which new databases are copies."""
        return f"{self.management.name}_audit_base"


def template_database(management: Database) -> Database:
    """Return the database in which a template is built before it gets its final name.

    All templates of an installation have the same roles. Tenants' roles are members of them, and so
    have their privileges on what was copied, but have CONNECT on their own database only.
    """
    return Database(f"{management.name}_template", f"{management.name}_steward_template")


def new_probe_database(management: Database) -> Database:
    """Return a database that is made to look at a server, and dropped again."""
    return probe_database(f"{management.name}_probe_{secrets.token_hex(4)}")


def probe_database(name: str) -> Database:
    """Return such a database by its name."""
    return Database(name, f"{name}_steward")


def new_tenant_database(management: Database) -> Database:
    """Return a new tenant's database: `t_` and a ULID, which sorts by time of creation.

    PostgreSQL searches all the memberships of a role that creates another, and a tenant has nine
    roles. The tenants are spread over 128 manager roles, so that each search stays short.
    """
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    ulid = "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
    manager = f"{management.name}_steward_{secrets.randbelow(_MANAGER_ROLES):03}"
    return Database(TENANT_PREFIX + ulid, manager)
