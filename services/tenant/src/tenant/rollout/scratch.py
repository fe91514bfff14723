"""What migrations make: the objects of a database that has just been made with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenant.domain.databases import SERVICES
from tenant.domain.drift import SchemaObjects, neutral_names, schema_objects
from tenant.domain.migrations import fingerprint
from tenant.errors import MigrationFailed
from tenant.rollout.migrator import migration_sessions
from tenant.store import schema_objects as catalogues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenant.domain.migrations import Migration
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.server import ProvisionedServer

_KEPT = 8


class ExpectedObjects:
    """The objects that sets of migrations make, on the server that they are compared on.

    Servers of different versions write definitions differently. The last few sets are kept.
    """

    def __init__(self, template: TemplateDatabase) -> None:
        self._template = template
        self._known: dict[tuple[str, str], SchemaObjects] = {}
        self._making = asyncio.Lock()

    async def of(self, server: ProvisionedServer, migrations: Sequence[Migration]) -> SchemaObjects:
        """Return what these migrations make, and how a database's roles ought to be.

        Raises MigrationFailed where they cannot all be applied, ServerUnavailable.
        """
        key = (server.server_id, fingerprint(migrations))
        async with self._making:
            if key not in self._known:
                made = await self._make(server, migrations)
                while len(self._known) >= _KEPT:
                    del self._known[next(iter(self._known))]
                self._known[key] = made
            return self._known[key]

    async def _make(
        self, server: ProvisionedServer, migrations: Sequence[Migration]
    ) -> SchemaObjects:
        async with self._template.scratch(server, migrations) as (database, progress):
            for failure in progress.failures.values():
                number, sqlstate = failure.migration.number, failure.sqlstate
                raise MigrationFailed(failure.migration.service, number, sqlstate)
            async with migration_sessions(server, database, ["tenant"]) as sessions:
                connection = sessions["tenant"]
                async with connection.transaction():
                    rows = await catalogues.read(connection)
        neutral = neutral_names(database, database, f"{server.management.name}_audit")
        recorded = [("migration", f"{m.service} {m.number}", m.digest) for m in migrations]
        return schema_objects([*rows, *recorded, *_access()], neutral)


def _access() -> list[tuple[str, str, str]]:
    """Return how the roles of every database are, as `catalogues.access` does."""
    logins = [f"D_{service.replace('-', '_')}{end}" for service in SERVICES for end in ("", "_mig")]
    return [
        ("owner", "of database D", "D_tenant_mig"),
        ("grant", "CONNECT on database D to D", ""),
        *(("role", role, "") for role in ("D", *logins)),
        *(("membership", f"of {role} in D", "") for role in logins),
    ]
