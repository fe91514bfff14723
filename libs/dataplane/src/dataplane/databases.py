"""The connection pools of a service by tenant; the empty id is the management database."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import asyncpg

from dataplane.pools import AccessStale, DatabaseServer, Pool, RoleConnections
from monitoring.databases import DatabaseMetrics
from servicekit.call import CallContext, current_call, use_call
from servicekit.errors import (
    DatabaseUnavailable,
    DomainError,
    PermissionDenied,
    TenantNotActive,
    TenantNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.connection_parameters import ConnectionParameters
    from dataplane.directory import TenantDirectory
    from dataplane.pools import Connection

MANAGEMENT = ""
_KNOWN_POOLS = 2000
_REFUSAL_SECONDS = 1.0
# How long until the registry is asked again about a tenant whose state it refused.
_STATE_SECONDS = 0.1
_STALE_DELAYS = (0.0, 0.05, 0.2, 0.5, 1.0)
_ADDRESS_CHECK_SECONDS = 1.0


class WrongDatabase(Exception):
    """The database belongs to another tenant than the one that it was opened for."""


class Databases:
    """Opens a pool when it is first needed, drops it when the tenant changes or its server moves.

    `resolve` returns how to log in to a tenant's database, or raises DomainError. `budget` is how
    many connections may be open to one database server.
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[ConnectionParameters]],
        application: str,
        budget: int,
        directory: TenantDirectory | None = None,
    ) -> None:
        self._resolve = resolve
        self._application = application
        self._budget = budget
        self._directory = directory
        self._servers: dict[str, DatabaseServer] = {}
        self._pools: OrderedDict[str, Pool] = OrderedDict()
        self._opening: dict[str, asyncio.Task[Pool]] = {}
        self._roles: WeakValueDictionary[object, RoleConnections] = WeakValueDictionary()
        self._refused: dict[str, tuple[float, DomainError]] = {}
        self._address_checks: dict[str, asyncio.Task[None]] = {}
        self._use_listeners: list[Callable[[str], None]] = []
        self._metrics = DatabaseMetrics(self._servers)
        if directory is not None:
            directory.on_change(self.drop)

    async def acquire(self, tenant_id: str) -> tuple[Pool, Connection]:
        """Return a connection, and the pool to release it to. Raises DomainError."""
        # Who asks at the same time shares an answer, which may be from before a login has changed.
        delays = iter(_STALE_DELAYS)
        while True:
            pool = await self._pool(tenant_id)
            try:
                return pool, await pool.server.acquire(pool)
            except AccessStale as stale:
                if self._pools.get(tenant_id) is pool:
                    self.drop(tenant_id)
                delay = next(delays, None)
                if delay is None:
                    self._metrics.failed(tenant_id, pool.parameters.server_id)
                    raise DatabaseUnavailable("the database rejects logins") from stale
                await asyncio.sleep(delay)
            except DatabaseUnavailable:
                self._metrics.failed(tenant_id, pool.parameters.server_id)
                self._check_address(tenant_id, pool)
                raise

    async def find(self, tenant_id: str) -> None:
        """Raise what `acquire` would raise before it waits for a connection."""
        await self._pool(tenant_id)

    def on_use(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each tenant whose database has been used."""
        self._use_listeners.append(listener)

    def used(self, tenant_id: str) -> None:
        """Tell the listeners that a connection has been used and is released."""
        self._metrics.reached(tenant_id)
        for listener in self._use_listeners:
            listener(tenant_id)

    def drop(self, tenant_id: str) -> None:
        """Drop a pool; connections in use are closed when they are released."""
        self._refused.pop(tenant_id, None)
        pool = self._pools.pop(tenant_id, None)
        if pool is not None:
            pool.server.retire(pool)

    def close(self) -> None:
        """Drop every pool."""
        for check in self._address_checks.values():
            check.cancel()
        for tenant_id in list(self._pools):
            self.drop(tenant_id)

    async def settled(self) -> None:
        """Wait until the connections that are being closed are closed."""
        await asyncio.gather(*self._address_checks.values(), return_exceptions=True)
        for server in self._servers.values():
            await server.settled()

    async def _pool(self, tenant_id: str) -> Pool:
        entry = self._directory.find(tenant_id) if self._directory is not None else None
        known = self._pools.get(tenant_id)
        # Every change of a tenant's state increments its generation. The directory may be late, so
        # only the registry decides whether the tenant is active now.
        if known is None or (entry is not None and known.parameters.generation < entry.generation):
            if known is not None:
                self.drop(tenant_id)
            return await self._open(tenant_id)
        self._pools.move_to_end(tenant_id)
        return known

    async def _open(self, tenant_id: str) -> Pool:
        """Make a pool. A refusal for the tenant's state is never older than this call."""
        joined = tenant_id in self._opening
        try:
            try:
                return await self._open_once(tenant_id)
            except (TenantNotActive, TenantNotFound):
                # Whoever resumes or creates a tenant calls at once, and may have joined a question
                # that was asked before.
                if not joined:
                    raise
                return await self._open_once(tenant_id)
        except TenantNotFound as error:
            raise _visible(error) from None

    async def _open_once(self, tenant_id: str) -> Pool:
        """Make a pool, once for all who wait; that a server is away is cached for a second."""
        until, refusal = self._refused.get(tenant_id, (0.0, None))
        cached = not isinstance(refusal, TenantNotActive | TenantNotFound)
        if refusal is not None and cached and until > time.monotonic():
            raise refusal.with_traceback(None)
        task = self._opening.get(tenant_id)
        if task is None:
            # With a context of its own: the call that happens to be first may be cancelled.
            with use_call(CallContext(tenant_id=tenant_id)):
                task = asyncio.create_task(self._make(tenant_id, until))
            self._opening[tenant_id] = task
            task.add_done_callback(lambda done: self._opened(tenant_id, done))
        return await asyncio.shield(task)

    async def _make(self, tenant_id: str, not_before: float) -> Pool:
        await asyncio.sleep(max(0.0, not_before - time.monotonic()))
        parameters = await self._resolve(tenant_id)
        server = self._servers.get(parameters.server_id)
        if server is None:
            server = self._servers[parameters.server_id] = DatabaseServer(self._budget)
        server.resize(min(self._budget, parameters.server_limit or self._budget))
        check = None if tenant_id == MANAGEMENT else _identity_check(tenant_id)
        place = (parameters.server_id, parameters.database, parameters.user)
        role = self._roles.setdefault(place, RoleConnections())
        return Pool(parameters, server, self._application, check, role)

    def _check_address(self, tenant_id: str, pool: Pool) -> None:
        """Find out in the background whether the database has moved: no call waits for that."""
        if tenant_id in self._address_checks:
            return
        with use_call(CallContext(tenant_id=tenant_id)):
            check = asyncio.create_task(self._drop_if_moved(tenant_id, pool))
        self._address_checks[tenant_id] = check
        check.add_done_callback(lambda _: self._address_checks.pop(tenant_id))

    async def _drop_if_moved(self, tenant_id: str, pool: Pool) -> None:
        try:
            parameters = await self._resolve(tenant_id)
        except DomainError:
            return
        address = (parameters.host, parameters.port)
        if address != (pool.parameters.host, pool.parameters.port):
            if self._pools.get(tenant_id) is pool:
                self.drop(tenant_id)
        else:
            await asyncio.sleep(_ADDRESS_CHECK_SECONDS)  # until the next check may begin

    def _opened(self, tenant_id: str, task: asyncio.Task[Pool]) -> None:
        del self._opening[tenant_id]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DomainError):
            if len(self._refused) >= _KNOWN_POOLS:
                self._refused.clear()
            by_state = isinstance(error, TenantNotActive | TenantNotFound)
            seconds = _STATE_SECONDS if by_state else _REFUSAL_SECONDS
            self._refused[tenant_id] = (time.monotonic() + seconds, error)
        if error is None and not task.cancelled():
            self.drop(tenant_id)
            self._pools[tenant_id] = task.result()
            while len(self._pools) > _KNOWN_POOLS:
                self.drop(next(iter(self._pools)))


def _visible(refusal: DomainError) -> DomainError:
    """Hide from callers that may not act for all tenants that a tenant does not exist."""
    call = current_call()
    everywhere = call is not None and call.principal is not None and call.principal.everywhere
    return PermissionDenied() if isinstance(refusal, TenantNotFound) and not everywhere else refusal


def _identity_check(tenant_id: str) -> Callable[[Connection], Awaitable[None]]:
    async def check(connection: Connection) -> None:
        try:
            found = await connection.fetchval("SELECT tenant_id FROM tenant_identity")
        except asyncpg.UndefinedTableError:
            found = None
        if found != tenant_id:
            owner = found or "none"
            raise WrongDatabase(f"opened for tenant {tenant_id}, but it belongs to {owner}")

    return check
