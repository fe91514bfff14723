"""How a file comes into being: lease, bytes, then everything else in one statement.

1. A lease on the path is committed (see leases.py). From now on nobody else writes there.
2. The bytes are put, the last of them only when size and sha256 agree and the lease is confirmed.
3. One statement ends the lease and gives the file its row, digests, lineage and audit entry.
A process that dies before 3 leaves a lease that ends by time and perhaps an object that no reader
can see; whoever writes the path next writes over it, or the collector removes it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifacts.app.intake import INLINE_BYTES, Intake
from artifacts.app.leases import Lease, Pauses
from artifacts.blobs.store import BlobDamaged
from artifacts.domain.facts import described, facts_of
from artifacts.domain.files import Artifact, Content, ContentHash, Submission
from artifacts.domain.writers import needs_held_run
from artifacts.errors import PutUnsettled, StoreUnavailable
from artifacts.store.writes import Wish
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor

    from artifacts.app.leases import Leases
    from artifacts.blobs.store import Blobs
    from artifacts.domain.files import Draft, Source
    from artifacts.store.stores import Stores
    from dataplane.tenants import TenantPools

_PUTS_AT_ONCE = 16
_PUT_ATTEMPTS = 2
_SETTLE_SECONDS = 2.0
_SETTLE_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file whose bytes are in memory."""

    submission: Submission
    body: bytes

    @classmethod
    def of(cls, draft: Draft, body: bytes, source: Source | None = None) -> SmallFile:
        """Hash a body and find its facts."""
        complete = described(draft, facts_of(body, draft.file_type))
        return cls(Submission(complete, Content.of(body), source), body)

    @property
    def wish(self) -> Wish:
        return Wish(self.submission.draft.key, self.submission.content.digest)


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file whose bytes are to come."""

    draft: Draft
    size_bytes: int
    digest: str
    source: Source | None = None
    upload_id: str | None = None


class Commits:
    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        leases: Leases,
        blobs: Blobs,
        threads: Executor,
    ) -> None:
        self._tenants = tenants
        self._leases = leases
        self._artifacts = stores.artifacts
        self._blobs = blobs
        self._threads = threads
        self._puts = asyncio.Semaphore(_PUTS_AT_ONCE)

    async def examine(self, draft: Draft, body: bytes, source: Source | None = None) -> SmallFile:
        """Make a body ready to be committed."""
        if len(body) <= INLINE_BYTES:
            return SmallFile.of(draft, body, source)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, SmallFile.of, draft, body, source)

    async def put_all(
        self, tenant_id: str, files: Sequence[SmallFile]
    ) -> dict[str, Artifact | DomainError]:
        """Commit small files, all that can be in one transaction; return what became of each path.

        A path that another writer has is waited for.
        """
        outcomes: dict[str, Artifact | DomainError] = {}
        waiting, pauses = {file.submission.path: file for file in files}, Pauses()
        while waiting:
            taken = await self._leases.take(tenant_id, [file.wish for file in waiting.values()])
            outcomes |= taken.committed
            outcomes |= taken.refused
            held = [(waiting[path], lease) for path, lease in taken.leases.items()]
            if held:
                outcomes |= await self._put_held(tenant_id, held)
            waiting = {path: file for path, file in waiting.items() if path not in outcomes}
            if waiting:
                await pauses.next()
        return outcomes

    async def put_stream(
        self, tenant_id: str, file: LargeFile, chunks: AsyncIterator[bytes]
    ) -> Artifact:
        """Commit a file as its bytes come.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound, SizeMismatch,
        DigestMismatch, StoreUnavailable, and what `chunks` raises.
        """
        taken = await self._leases.wait_for(tenant_id, Wish(file.draft.key, file.digest))
        if isinstance(taken, Artifact):
            return taken
        intake = Intake(chunks, file.size_bytes, file.digest, file.draft.file_type, self._threads)
        async with self._leases.renewing(taken):
            try:
                await self._send(taken, file, intake)
            except BaseException as error:
                if not intake.passed or type(error) is StoreUnavailable:
                    await self._leases.release(tenant_id, [taken])
                raise
            draft = described(file.draft, intake.facts)
            submission = Submission(draft, intake.content, file.source, file.upload_id)
            outcome = (await self._commit(tenant_id, [(submission, taken)]))[file.draft.key.path]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    async def _send(self, lease: Lease, file: LargeFile, intake: Intake) -> None:
        object_name = file.draft.key.object_name

        async def confirm() -> None:
            await self._leases.confirm(lease)

        async with aclosing(intake.pieces(confirm)) as pieces:
            if file.size_bytes:
                await self._blobs.put_pieces(object_name, file.size_bytes, pieces)
            else:
                async for _ in pieces:
                    pass
                await self._blobs.put(object_name, b"")
        if lease.doubtful and not await self._settled(lease, file.size_bytes):
            raise StoreUnavailable("an earlier writer's bytes came in between; send the file again")

    async def _put_held(
        self, tenant_id: str, held: Sequence[tuple[SmallFile, Lease]]
    ) -> dict[str, Artifact | DomainError]:
        faults = await asyncio.gather(*(self._put(file, lease) for file, lease in held))
        outcomes: dict[str, Artifact | DomainError] = {}
        stored: list[tuple[Submission, Lease]] = []
        ended: list[Lease] = []
        for (file, lease), fault in zip(held, faults, strict=True):
            if fault is None:
                stored.append((file.submission, lease))
                continue
            outcomes[file.submission.path] = fault
            if not isinstance(fault, PutUnsettled):
                ended.append(lease)
        await self._leases.release(tenant_id, ended)
        if stored:
            outcomes |= await self._commit(tenant_id, stored)
        return outcomes

    async def _put(self, file: SmallFile, lease: Lease) -> DomainError | None:
        """Put one small file; return why it failed. A passing failure is tried again at once."""
        object_name = lease.wish.key.object_name
        attempts = _SETTLE_ATTEMPTS if lease.doubtful else _PUT_ATTEMPTS
        fault: DomainError | None = None
        async with self._puts:
            for _ in range(attempts):
                try:
                    lease.check_fresh()
                    await self._blobs.put(object_name, file.body)
                    if not lease.doubtful or await self._settled(lease, len(file.body)):
                        return None
                    await self._leases.confirm(lease)
                    fault = StoreUnavailable("an earlier writer's bytes came in between")
                except StoreUnavailable as error:
                    # What may be on its way since an earlier attempt is so still.
                    fault = fault if isinstance(fault, PutUnsettled) else error
        return fault

    async def _settled(self, lease: Lease, size_bytes: int) -> bool:
        """Tell whether our bytes are the ones that stay, where an earlier writer's may come late.

        That writer's request reached the store long before ours did; if it is carried out at all,
        because the store itself had stopped, it is while ours is.
        """
        await asyncio.sleep(_SETTLE_SECONDS)
        stored, object_name = ContentHash(), lease.wish.key.object_name
        try:
            async with aclosing(self._blobs.read(object_name, size_bytes, 0, size_bytes)) as pieces:
                async for piece in pieces:
                    await asyncio.get_running_loop().run_in_executor(
                        self._threads, stored.add, piece
                    )
        except BlobDamaged:
            return False
        return stored.content().digest == lease.wish.digest

    async def _commit(
        self, tenant_id: str, stored: Sequence[tuple[Submission, Lease]]
    ) -> dict[str, Artifact | DomainError]:
        submissions, leases = [s for s, _ in stored], [lease for _, lease in stored]
        caller, writer = current_principal(), leases[0].writer
        only_held = needs_held_run(caller.workload)
        try:
            async with self._tenants.connection(tenant_id) as connection:
                committed = await self._artifacts.commit(
                    connection, writer, caller.user_id, submissions, only_held=only_held
                )
                left = [lease for lease in leases if lease.wish.key.path not in committed]
                refused = await self._leases.lost(connection, left)
        except DomainError as error:
            await self._leases.release(tenant_id, leases)
            return {submission.path: error for submission in submissions}
        await self._leases.release(tenant_id, left)
        return committed | refused
