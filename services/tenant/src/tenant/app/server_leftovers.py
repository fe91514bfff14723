"""What processes that died have left on a database server, besides databases and their roles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tenant.app import server_inspection
from tenant.domain.operations import OperationState
from tenant.domain.repair import Finding, FindingAction, FindingKind
from tenant.errors.deletion import DatabaseInUse
from tenant.store import installation, open_operations, replication, strays

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.app.repair_decision import RepairDecision
    from tenant.domain.databases import Database
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks


class ServerLeftovers:
    """Finds replication slots that no move needs, and databases that were made to look at servers.

    A server keeps its write-ahead log for a slot, until its disk is full.
    """

    def __init__(
        self, management: ManagementPool, locks: AdvisoryLocks, servers: DatabaseServers
    ) -> None:
        self._management = management
        self._locks = locks
        self._servers = servers

    async def remove(self, server_id: str, decide: RepairDecision) -> list[Finding]:
        """Return what is left on a server, with what was done about it. Raises Unavailable."""
        slots = await self._slots(server_id, decide)
        return [*slots, *await self._probes(server_id, decide)]

    async def _slots(self, server_id: str, decide: RepairDecision) -> list[Finding]:
        server = await self._servers.of(server_id)
        async with self._management.connection() as connection:
            marker = await installation.marker(connection)
            # In this order: a move is older than its slot.
            async with server.provisioner() as provisioner:
                found = await strays.slots(provisioner, marker)
            wanted = await open_operations.texts(connection)
        findings: list[Finding] = []
        for slot, database in found:
            states = open_operations.states_of(wanted, slot)
            of_failed = OperationState.FAILED in states
            if states and not of_failed:
                continue
            finding = Finding(
                FindingKind.REPLICATION_SLOT,
                f"{server_id}/slot/{slot}",
                f"a replication slot of {database.name}: the server keeps its write-ahead log",
                FindingAction.KEPT,
                "Its move has failed: ResumeOperation goes on, CancelOperation removes the slot."
                if of_failed
                else "",
            )
            remove = partial(self._drop_slot, server_id, database, slot)
            findings.append(await decide(finding, certain=not of_failed, remove=remove))
        return findings

    async def _drop_slot(self, server_id: str, database: Database, slot: str) -> None:
        """Drop a slot, and the role that read from it. Raises DatabaseInUse."""
        server = await self._servers.of(server_id)
        async with server.provisioner() as provisioner:
            if not await replication.drop_slot(provisioner, slot):
                raise DatabaseInUse(database.name, [f"the replication slot {slot}"])
            await replication.drop_reader(provisioner, database)

    async def _probes(self, server_id: str, decide: RepairDecision) -> list[Finding]:
        """Look unless a registration looks at a server just now."""
        server, findings = await self._servers.of(server_id), list[Finding]()
        async with self._locks.trying(server_inspection.LOCK) as held:
            if held is None:
                return findings
            async with server.provisioner() as provisioner:
                left = await strays.probes(provisioner, server.management)
            for database in left:
                finding = Finding(
                    FindingKind.DATABASE,
                    f"{server_id}/{database.name}",
                    "a database that was made to look at the server",
                    FindingAction.KEPT,
                )
                remove = partial(server_inspection.remove_probe, server, database)
                findings.append(await decide(finding, certain=True, remove=remove))
        return findings
