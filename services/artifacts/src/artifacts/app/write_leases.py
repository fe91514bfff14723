"""Write leases: one writer of a path at a time, over all processes.

An S3 store keeps whatever PUT ends last, so no bytes may be on their way to a path at which other
bytes are committed. A lease is acquired before the first byte; the statement that commits the file
deletes it, and nobody commits without it. No database connection is held meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from artifacts.domain.files import Artifact, WriteTarget
from artifacts.domain.writers import needs_held_run, run_not_held_error
from artifacts.errors import ArtifactConflict, NameInvalid, RunNotFound, StoreUnavailable
from artifacts.store import artifacts, runs, write_leases
from servicekit.call import current_principal
from servicekit.errors import DomainError
from servicekit.retries import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Mapping, Sequence

    from artifacts.domain.keys import BucketLayout
    from artifacts.store.write_leases import EarlierPuts
    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools

_CONFIRMED_SECONDS = 8.0  # plus a small PUT: below the 30 s after which others take over
_RENEWAL_SECONDS = 2.0
LEASE_BACKOFF = Backoff(0.02, 0.5)
"""The delays between attempts to acquire a lease that another writer has."""


@dataclass(slots=True)
class WriteLease:
    """The right to put certain bytes at one path."""

    target: WriteTarget
    writer: UUID
    earlier_puts: EarlierPuts
    confirmed_at: float
    """When it was held for certain, on the clock of time.monotonic."""

    def check_confirmed(self) -> None:
        """Raise StoreUnavailable if another writer can have taken over since `confirmed_at`."""
        if time.monotonic() - self.confirmed_at > _CONFIRMED_SECONDS:
            raise StoreUnavailable("the write was held up for too long")


@dataclass(frozen=True, slots=True)
class LeaseOutcome:
    """The outcome of an acquisition, by path. A path in none of them has another writer."""

    leases: dict[str, WriteLease]
    committed: dict[str, Artifact]
    refused: dict[str, DomainError]


class WriteLeases:
    """Acquires, renews and releases write leases in the table `artifact_writes`."""

    def __init__(
        self, tenants: TenantPools, layout: BucketLayout, scheduler: PendingWorkScheduler
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._scheduler = scheduler

    async def acquire(self, tenant_id: str, targets: Sequence[WriteTarget]) -> LeaseOutcome:
        """Acquire leases on those of these paths that are free, without waiting."""
        await self._scheduler.schedule(tenant_id)
        writer, started, outcome = uuid4(), time.monotonic(), LeaseOutcome({}, {}, {})
        async with self._tenants.connection(tenant_id) as connection:
            not_held = await runs_not_held(connection, targets)
            writable = [target for target in targets if target.key.run_id not in not_held]
            taken: dict[str, EarlierPuts] = {}
            for _, of_run in groupby(sorted(writable, key=_run_id), key=_run_id):
                group = list(of_run)
                try:
                    taken |= await write_leases.take(connection, writer, group)
                except RunNotFound as error:
                    outcome.refused.update({target.key.path: error for target in group})
            # Only now: this query sees earlier commits, and later ones need our leases.
            keys = [target.key for target in targets]
            around = await artifacts.find_around(connection, self._layout, tenant_id, keys)
            for target in targets:
                path = target.key.path
                match check_existing(target, around, not_held):
                    case Artifact() as committed:
                        outcome.committed[path] = committed
                    case DomainError() as refusal:
                        outcome.refused[path] = refusal
                    case None if path in taken:
                        outcome.leases[path] = WriteLease(target, writer, taken[path], started)
                    case None:
                        pass
            if unneeded := taken.keys() - outcome.leases.keys():
                with_file = [path for path in unneeded if path in around]
                idle = [path for path in unneeded if not taken[path].same_bytes]
                await write_leases.delete(connection, writer, with_file)
                await write_leases.release(connection, writer, idle)
        return outcome

    async def acquire_when_free(self, tenant_id: str, target: WriteTarget) -> WriteLease | Artifact:
        """Wait until no other writer has the path; return the file if it is committed meanwhile.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound.
        """
        path, delays = target.key.path, LEASE_BACKOFF.delays()
        while True:
            outcome = await self.acquire(tenant_id, [target])
            if path in outcome.refused:
                raise outcome.refused[path]
            if path in outcome.committed:
                return outcome.committed[path]
            if path in outcome.leases:
                return outcome.leases[path]
            await asyncio.sleep(next(delays))

    async def confirm(self, lease: WriteLease) -> None:
        """Renew a lease, so that it is held from now on. Raises StoreUnavailable if it is lost."""
        key, started = lease.target.key, time.monotonic()
        async with self._tenants.connection(key.tenant_id) as connection:
            if not await write_leases.renew(connection, lease.writer, key.path):
                raise StoreUnavailable("another writer has taken over the path")
        lease.confirmed_at = started
        lease.check_confirmed()

    @asynccontextmanager
    async def renewing(self, lease: WriteLease) -> AsyncGenerator[None, None]:
        """Renew a lease periodically for the block."""
        renewal = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewal.cancel()

    async def release(self, tenant_id: str, leases: Sequence[WriteLease]) -> None:
        """Release leases whose holder has no PUT in flight.

        A lease expires by itself where an earlier writer's PUT of the same bytes may be in flight,
        or when the database cannot be reached.
        """
        paths = [lease.target.key.path for lease in leases if not lease.earlier_puts.same_bytes]
        if not paths:
            return
        try:
            async with self._tenants.connection(tenant_id) as connection:
                await write_leases.release(connection, leases[0].writer, paths)
        except DomainError:
            return

    async def _renew(self, lease: WriteLease) -> None:
        key = lease.target.key
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            try:
                async with self._tenants.connection(key.tenant_id) as connection:
                    await write_leases.renew(connection, lease.writer, key.path)
            except DomainError:
                continue


async def lost_lease_errors(
    connection: Connection, leases: Sequence[WriteLease]
) -> dict[str, DomainError]:
    """Return, by path, why files were not committed although leases had been acquired."""
    not_held = await runs_not_held(connection, [lease.target for lease in leases])
    taken_over = StoreUnavailable("another writer has taken over the path")
    return {
        key.path: run_not_held_error(key) if key.run_id in not_held else taken_over
        for key in (lease.target.key for lease in leases)
    }


async def runs_not_held(connection: Connection, targets: Sequence[WriteTarget]) -> frozenset[UUID]:
    """Return the runs that accept no file of this caller; for a workload without a query."""
    if not targets or not needs_held_run(current_principal().workload):
        return frozenset()
    return await runs.not_held(connection, {target.key.run_id for target in targets})


def check_existing(
    target: WriteTarget, around: Mapping[str, Artifact], not_held: Container[UUID]
) -> Artifact | DomainError | None:
    """Return the same file if it is committed, or why the target cannot be written, or None.

    `around` has the committed files at, above and below the target's path.
    """
    path = target.key.path
    existing = around.get(path)
    if existing is not None and existing.digest == target.digest:
        return existing
    if target.key.run_id in not_held:
        return run_not_held_error(target.key)
    if existing is not None:
        return ArtifactConflict(path, existing.digest)
    if any(folder in around for folder in target.key.folders):
        return NameInvalid(target.key.name, "a file lies where it needs a folder")
    if any(other.startswith(f"{path}/") for other in around):
        return NameInvalid(target.key.name, "files lie in a folder of that name")
    return None


def _run_id(target: WriteTarget) -> UUID:
    return target.key.run_id
