"""The copy of a database that follows the original, by PostgreSQL's logical replication."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tenant.domain.passwords import new_password, scram_verifier
from tenant.errors import ServerUnavailable
from tenant.errors.deletion import DatabaseInUse
from tenant.errors.moves import ReplicaBroken
from tenant.move import locations
from tenant.store import replication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.pools import Connection
    from tenant.database_tls import DatabaseTls
    from tenant.move.locations import Move
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.server import ProvisionedServer

_POLL_SECONDS = 0.2
_LAST_POLL_SECONDS = 0.005
_CLOSE_BYTES = 1 << 20
_SLOT_SECONDS = 10.0
_CLOSING_SECONDS = 60.0
_SILENT_SECONDS = 60.0


class Replica:
    """Makes a database follow another one, tells how far it is, and ends that."""

    def __init__(self, servers: DatabaseServers, tls: DatabaseTls) -> None:
        self._servers = servers
        self._tls = tls

    async def follows(self, move: Move) -> bool:
        """Return whether the new database, which exists, follows the old one, and can go on."""
        async with (
            locations.owner_session(self._servers, move.old) as (_, old),
            locations.owner_session(self._servers, move.new) as (_, new),
        ):
            state = await replication.subscription(new)
            # An error of the old server, such as a slot that is gone, disables no subscription.
            usable = await replication.slot_is_usable(old, move.new.database.name)
        return state is not None and state.enabled and usable

    async def begin(self, move: Move, empty: Callable[[Connection], Awaitable[None]]) -> str:
        """Let the new database, which `empty` has emptied, follow the old one.

        Returns why it cannot; nothing is left of the attempt then.
        """
        async with (
            locations.owner_session(self._servers, move.old) as (source, old),
            locations.owner_session(self._servers, move.new) as (_, new),
        ):
            lacking = await replication.without_identity(old)
            if lacking:
                return f"tables without a primary key: {', '.join(lacking)}"
            connection_string = await self._reader(source, move)
            publications = await replication.publish(old)
            await replication.drop_slot(old, move.new.database.name)  # of an earlier attempt
            await empty(new)
            slot = move.new.database.name
            problem = await replication.subscribe(new, connection_string, publications, slot)
        if problem:
            await self.end(move)
            await self.release(move)
        return problem

    async def copied(self, move: Move, tell: Callable[[int, int], Awaitable[None]]) -> None:
        """Wait until all tables are copied and little is left to follow.

        Raises ReplicaBroken, and ServerUnavailable if the new server does not hear the old one.
        """
        connected_at = time.monotonic()
        async with (
            locations.owner_session(self._servers, move.old) as (_, old),
            locations.owner_session(self._servers, move.new) as (_, new),
        ):
            while True:
                state = await replication.subscription(new)
                if state is None or not state.enabled:
                    raise ReplicaBroken(move.tenant_id)
                if not await replication.slot_is_usable(old, move.new.database.name):
                    raise ReplicaBroken(move.tenant_id)
                if state.connected:
                    connected_at = time.monotonic()
                elif time.monotonic() - connected_at > _SILENT_SECONDS:
                    raise ServerUnavailable(move.old.server_id, move.new.server_id)
                await tell(state.copied, state.tables)
                behind = await replication.flushed(old) - await replication.received(new)
                if state.copied == state.tables and behind < _CLOSE_BYTES:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def catch_up(self, old: Connection, new: Connection, move: Move) -> None:
        """Wait until the new database has all that is committed in the old one.

        Raises ReplicaBroken, also when that takes a minute.
        """
        wanted = await replication.flushed(old)
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                while await replication.received(new) < wanted:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LAST_POLL_SECONDS)
        except TimeoutError:
            raise ReplicaBroken(move.tenant_id) from None

    async def end(self, move: Move) -> None:
        """Let the new database follow no longer; `release` is to come after it."""
        async with locations.owner_session(self._servers, move.new) as (_, new):
            await replication.unsubscribe(new)

    async def release(self, move: Move) -> None:
        """Remove what the old server has for it; until then that server keeps its log.

        Raises DatabaseInUse while the new server is still connected, or believed to be.
        """
        slot = move.new.database.name
        async with locations.owner_session(self._servers, move.old) as (source, old):
            try:
                async with asyncio.timeout(_SLOT_SECONDS):
                    while not await replication.drop_slot(old, slot):  # noqa: ASYNC110
                        await asyncio.sleep(_POLL_SECONDS)
            except TimeoutError:
                user = f"the replication slot {slot}"
                raise DatabaseInUse(move.old.database.name, [user]) from None
            await replication.unpublish(old)
        async with source.provisioner() as provisioner:
            await replication.drop_reader(provisioner, move.old.database)

    async def _reader(self, source: ProvisionedServer, move: Move) -> str:
        """Make the role as which the new server reads, and return how it logs in."""
        database, password = move.old.database, new_password()
        async with source.provisioner() as provisioner:
            await replication.create_reader(provisioner, database, scram_verifier(password))
            encrypted = await replication.is_encrypted(provisioner)
        role = f'"{replication.reader(database)}"'
        async with source.provisioner(database.manager) as manager:
            await replication.grant_tables(manager, database, role)
        return (
            f"host={source.host} port={source.port} dbname={database.name} "
            f"user={replication.reader(database)} password={password} "
            f"{self._tls.between_servers(encrypted=encrypted)} connect_timeout=10"
        )
