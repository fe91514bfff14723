"""The right to write a path: one writer at a time, over all processes.

A store like ours keeps whatever PUT ends last, so bytes must never be on their way to a path that
has been committed with others. A lease is taken before the first byte and its row goes in the
transaction that gives the file its own; nobody commits without it. No connection is held meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from artifacts.domain.files import Artifact
from artifacts.domain.writers import needs_held_run, refused_input
from artifacts.errors import ArtifactConflict, NameInvalid, RunNotFound, StoreUnavailable
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Mapping, Sequence

    from artifacts.app.pending_work import PendingWork
    from artifacts.store.runs import RunStore
    from artifacts.store.stores import Stores
    from artifacts.store.writes import Hold, Wish
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools

_FRESH_SECONDS = 8.0  # with what a small PUT may take, below the 30 s until others take over
_HEARTBEAT_SECONDS = 2.0
_FIRST_DELAY = 0.02
_LAST_DELAY = 0.5


@dataclass(slots=True)
class Lease:
    """The right to put certain bytes at one path."""

    wish: Wish
    writer: UUID
    hold: Hold
    confirmed_at: float
    """When it was surely held, on the clock of time.monotonic."""

    @property
    def doubtful(self) -> bool:
        """Whether an earlier writer's other bytes may still be on their way."""
        return self.hold.doubtful

    def check_fresh(self) -> None:
        """Make sure, right before bytes go out, that nobody can have taken over."""
        if time.monotonic() - self.confirmed_at > _FRESH_SECONDS:
            raise StoreUnavailable("the write was held up for too long")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of some wishes, by path. A path in none of them is being written by others."""

    leases: dict[str, Lease]
    committed: dict[str, Artifact]
    refused: dict[str, DomainError]


class Leases:
    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        pending: PendingWork,
    ) -> None:
        self._tenants = tenants
        self._pending = pending
        self._artifacts = stores.artifacts
        self._writes = stores.writes
        self._runs = stores.runs

    async def take(self, tenant_id: str, wishes: Sequence[Wish]) -> Taken:
        """Take what can be taken of these paths, without waiting."""
        await self._pending.note(tenant_id)
        writer, started, taken = uuid4(), time.monotonic(), Taken({}, {}, {})
        held: dict[str, Hold] = {}
        async with self._tenants.connection(tenant_id) as connection:
            closed = await closed_runs(self._runs, connection, wishes)
            open_for = [wish for wish in wishes if wish.key.run_id not in closed]
            for _, of_run in groupby(sorted(open_for, key=_run), key=_run):
                group = list(of_run)
                try:
                    held |= await self._writes.take(connection, writer, group)
                except RunNotFound as error:
                    taken.refused.update({wish.key.path: error for wish in group})
            # Only now: a commit before this statement is seen by it, and one after needs our lease.
            around = await self._artifacts.find_around(
                connection, tenant_id, [wish.key for wish in wishes]
            )
            for wish in wishes:
                path = wish.key.path
                match judge(wish, around, closed):
                    case Artifact() as committed:
                        taken.committed[path] = committed
                    case DomainError() as refusal:
                        taken.refused[path] = refusal
                    case None if path in held:
                        taken.leases[path] = Lease(wish, writer, held[path], started)
                    case None:
                        pass
            if kept_from := held.keys() - taken.leases.keys():
                of_files = [path for path in kept_from if path in around]
                settled = [path for path in kept_from if not held[path].inherited]
                await self._writes.forget(connection, writer, of_files)
                await self._writes.release(connection, writer, settled)
        return taken

    async def wait_for(self, tenant_id: str, wish: Wish) -> Lease | Artifact:
        """Take a path as soon as no other writer has it; or return the file that came there.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound.
        """
        path, pauses = wish.key.path, Pauses()
        while True:
            taken = await self.take(tenant_id, [wish])
            if path in taken.refused:
                raise taken.refused[path]
            if path in taken.committed:
                return taken.committed[path]
            if path in taken.leases:
                return taken.leases[path]
            await pauses.next()

    async def lost(self, connection: Connection, leases: Sequence[Lease]) -> dict[str, DomainError]:
        """Return why files were not committed although their paths had been taken, by path."""
        closed = await closed_runs(self._runs, connection, [lease.wish for lease in leases])
        taken_over = StoreUnavailable("another writer has taken over the path")
        return {
            key.path: refused_input(key) if key.run_id in closed else taken_over
            for key in (lease.wish.key for lease in leases)
        }

    async def confirm(self, lease: Lease) -> None:
        """Make sure that a lease is held for a while from now on. Raises StoreUnavailable."""
        key, started = lease.wish.key, time.monotonic()
        async with self._tenants.connection(key.tenant_id) as connection:
            if not await self._writes.renew(connection, lease.writer, key.path):
                raise StoreUnavailable("another writer has taken over the path")
        lease.confirmed_at = started
        lease.check_fresh()

    @asynccontextmanager
    async def renewing(self, lease: Lease) -> AsyncGenerator[None, None]:
        """Hold a lease on inside the block, however long that takes."""
        heart = asyncio.create_task(self._beat(lease))
        try:
            yield
        finally:
            heart.cancel()

    async def release(self, tenant_id: str, leases: Sequence[Lease]) -> None:
        """Let go of paths to which the leases' holder has nothing on its way.

        Where an earlier writer may have, or if it cannot be told, the lease ends by time.
        """
        paths = [lease.wish.key.path for lease in leases if not lease.hold.inherited]
        if not paths:
            return
        try:
            async with self._tenants.connection(tenant_id) as connection:
                await self._writes.release(connection, leases[0].writer, paths)
        except DomainError:
            return

    async def _beat(self, lease: Lease) -> None:
        key = lease.wish.key
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            try:
                async with self._tenants.connection(key.tenant_id) as connection:
                    await self._writes.renew(connection, lease.writer, key.path)
            except DomainError:
                continue


async def closed_runs(
    runs: RunStore, connection: Connection, wishes: Sequence[Wish]
) -> frozenset[UUID]:
    """Return the runs that take nothing from this caller; for a workload it asks nobody."""
    if not wishes or not needs_held_run(current_principal().workload):
        return frozenset()
    return await runs.not_held(connection, {wish.key.run_id for wish in wishes})


def judge(
    wish: Wish, around: Mapping[str, Artifact], closed: Container[UUID]
) -> Artifact | DomainError | None:
    """Tell what stands where a file is wished: the same file, a hindrance, or nothing."""
    path = wish.key.path
    there = around.get(path)
    if there is not None and there.digest == wish.digest:
        return there
    if wish.key.run_id in closed:
        return refused_input(wish.key)
    if there is not None:
        return ArtifactConflict(path, there.digest)
    if any(folder in around for folder in wish.key.folders):
        return NameInvalid(wish.key.name, "a file lies where it needs a folder")
    if any(other.startswith(f"{path}/") for other in around):
        return NameInvalid(wish.key.name, "files lie in a folder of that name")
    return None


class Pauses:
    """Growing, scattered pauses between looks at what another process may have ended."""

    def __init__(self) -> None:
        self._seconds = _FIRST_DELAY

    async def next(self) -> None:
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.0))  # noqa: S311 - a jitter
        self._seconds = min(1.6 * self._seconds, _LAST_DELAY)


def _run(wish: Wish) -> UUID:
    return wish.key.run_id
