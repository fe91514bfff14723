"""The write-ahead logs of the database servers, in which a tenant's rows may still stand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from tenant.domain.deletion import StoreReport
from tenant.store import wal
from tenant.store.wal import WalUnproven

if TYPE_CHECKING:
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.server import ProvisionedServer

LOST = "It could not be looked at: it is lost for good, with what it had of the tenant."
"""What a certificate says of a server that is lost."""
_SECONDS = 1800.0
"""How long a server may take on which the tenant is not."""


class WrittenLogs:
    """Has every server write over its write-ahead log: the tenant may have been on any of them."""

    def __init__(self, servers: DatabaseServers, begun: Operations) -> None:
        self._servers = servers
        self._begun = begun

    async def overwrite(self, operation: Operation, server_id: str) -> list[StoreReport]:
        """Return a report on each server's log; it says what is not proven.

        The server with this id, on which the tenant is, is waited for: raises ServerUnavailable.
        Another one may be away, a standby, or of another kind: nothing of it keeps a purge.
        """
        reports: list[StoreReport] = []
        for one in await self._servers.all_ids():
            if (server := await self._servers.unless_lost(one)) is None:
                reports.append(_unproven(one, LOST))
                continue
            if one == server_id:
                reports.append(await self._overwrite(operation, server))
                continue
            try:
                async with asyncio.timeout(_SECONDS):
                    reports.append(await self._overwrite(operation, server))
            except TimeoutError:
                reports.append(_unproven(one, f"It took longer than {_SECONDS:g} s."))
            except DomainError as error:
                reports.append(_unproven(one, f"It could not be looked at: {error}."))
        return reports

    async def _overwrite(self, operation: Operation, server: ProvisionedServer) -> StoreReport:
        server_id = server.server_id

        async def tell(done: int, total: int) -> None:
            await self._begun.progress(operation, done, total, f"segments of {server_id}")

        try:
            async with server.provisioner() as provisioner:
                found = await wal.overwrite(provisioner, tell)
        except WalUnproven as error:
            return _unproven(server_id, str(error), error.found, error.kept)
        return StoreReport(_name(server_id), wal.METHOD, found, 0)


def _unproven(
    server_id: str, why: str, found: int | None = None, kept: int | None = None
) -> StoreReport:
    return StoreReport(_name(server_id), wal.METHOD, found, kept, (why,))


def _name(server_id: str) -> str:
    return f"segments of the write-ahead log of the database server {server_id}"
