"""The commit protocol of a file: lease, PUT, then one statement for all its rows.

1. A write lease on the path is committed (see write_leases.py): nobody else writes there.
2. The bytes are put; the last of them only when size and sha256 match and the lease is confirmed.
3. One statement deletes the lease and inserts the file's row, digests, lineage and audit entry.
A process that dies before 3 leaves a lease that expires, and perhaps an object that no reader can
see; the next writer of the path overwrites it, or the collector removes it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifacts.app.body_verifier import ON_LOOP_BYTES, BodyVerifier
from artifacts.app.small_files import SMALL_BYTES
from artifacts.app.write_leases import LEASE_BACKOFF, WriteLease, lost_lease_errors
from artifacts.domain.buffered_file import BufferedFile
from artifacts.domain.facts import with_facts
from artifacts.domain.files import Artifact, ContentHasher, Submission, WriteTarget
from artifacts.domain.writers import needs_held_run
from artifacts.errors import PutOutcomeUnknown, StoreUnavailable
from artifacts.metrics import BYTES_WRITTEN, FILES_COMMITTED
from artifacts.object_store.client import ObjectDamaged
from artifacts.store import artifacts
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor

    from artifacts.app.small_files import SmallFiles
    from artifacts.app.write_leases import WriteLeases
    from artifacts.domain.files import CopySource, Draft
    from artifacts.domain.keys import BucketLayout
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import TenantPools

_CONCURRENT_PUTS = 16
_PUT_ATTEMPTS = 2
_READBACK_SECONDS = 2.0
_READBACK_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """A file whose bytes arrive in a stream."""

    draft: Draft
    size_bytes: int
    digest: str
    source: CopySource | None = None
    upload_id: str | None = None


class Committer:
    """Commits files, buffered or streamed, by the protocol above."""

    def __init__(
        self,
        tenants: TenantPools,
        layout: BucketLayout,
        leases: WriteLeases,
        small_files: SmallFiles,
        objects: ObjectStore,
        threads: Executor,
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._leases = leases
        self._small_files = small_files
        self._objects = objects
        self._threads = threads
        self._puts = asyncio.Semaphore(_CONCURRENT_PUTS)

    async def prepare(
        self, draft: Draft, body: bytes, source: CopySource | None = None
    ) -> BufferedFile:
        """Hash a body and count its facts; a large one in a thread."""
        if len(body) <= ON_LOOP_BYTES:
            return BufferedFile.of(draft, body, source)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, BufferedFile.of, draft, body, source)

    async def commit_all(
        self, tenant_id: str, files: Sequence[BufferedFile]
    ) -> dict[str, Artifact | DomainError]:
        """Commit buffered files, as many as possible in one transaction; return outcomes by path.

        Waits for paths that have another writer.
        """
        outcomes = await self._commit_small(tenant_id, files)
        waiting = {file.submission.path: file for file in files}
        waiting = {path: file for path, file in waiting.items() if path not in outcomes}
        delays = LEASE_BACKOFF.delays()
        while waiting:
            targets = [file.target for file in waiting.values()]
            acquired = await self._leases.acquire(tenant_id, targets)
            outcomes |= acquired.committed
            outcomes |= acquired.refused
            leased = [(waiting[path], lease) for path, lease in acquired.leases.items()]
            if leased:
                outcomes |= await self._put_leased(tenant_id, leased)
            waiting = {path: file for path, file in waiting.items() if path not in outcomes}
            if waiting:
                await asyncio.sleep(next(delays))
        return outcomes

    async def _commit_small(
        self, tenant_id: str, files: Sequence[BufferedFile]
    ) -> dict[str, Artifact | DomainError]:
        """Commit those of these files that are small and whose paths are free."""
        small = [file for file in files if len(file.body) <= SMALL_BYTES]
        if not small:
            return {}
        try:
            return {**await self._small_files.commit(tenant_id, small)}
        except StoreUnavailable as error:
            return {file.submission.path: error for file in small}

    async def commit_stream(
        self, tenant_id: str, file: StreamedFile, chunks: AsyncIterator[bytes]
    ) -> Artifact:
        """Commit a file as its bytes arrive.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound, SizeMismatch,
        DigestMismatch, StoreUnavailable, and what `chunks` raises.
        """
        target = WriteTarget(file.draft.key, file.digest)
        lease = await self._leases.acquire_when_free(tenant_id, target)
        if isinstance(lease, Artifact):
            return lease
        body = BodyVerifier(
            chunks, file.size_bytes, file.digest, file.draft.file_type, self._threads
        )
        async with self._leases.renewing(lease):
            try:
                await self._put_stream(lease, file, body)
            except BaseException as error:
                if not body.verified or type(error) is StoreUnavailable:
                    await self._leases.release(tenant_id, [lease])
                raise
            draft = with_facts(file.draft, body.facts)
            submission = Submission(draft, body.content, file.source, file.upload_id)
            outcome = (await self._commit(tenant_id, [(submission, lease)]))[target.key.path]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    async def _put_stream(self, lease: WriteLease, file: StreamedFile, body: BodyVerifier) -> None:
        object_name = file.draft.key.object_name

        async def confirm() -> None:
            await self._leases.confirm(lease)

        async with aclosing(body.pieces(confirm)) as pieces:
            if file.size_bytes:
                await self._objects.put_pieces(object_name, file.size_bytes, pieces)
            else:
                async for _ in pieces:
                    pass
                await self._objects.put(object_name, b"")
        if lease.earlier_puts.other_bytes and not await self._reads_back(lease, file.size_bytes):
            raise StoreUnavailable("an earlier writer's bytes came in between; send the file again")

    async def _put_leased(
        self, tenant_id: str, leased: Sequence[tuple[BufferedFile, WriteLease]]
    ) -> dict[str, Artifact | DomainError]:
        errors = await asyncio.gather(*(self._put(file, lease) for file, lease in leased))
        outcomes: dict[str, Artifact | DomainError] = {}
        stored: list[tuple[Submission, WriteLease]] = []
        failed: list[WriteLease] = []
        for (file, lease), error in zip(leased, errors, strict=True):
            if error is None:
                stored.append((file.submission, lease))
                continue
            outcomes[file.submission.path] = error
            if not isinstance(error, PutOutcomeUnknown):
                failed.append(lease)
        await self._leases.release(tenant_id, failed)
        if stored:
            outcomes |= await self._commit(tenant_id, stored)
        return outcomes

    async def _put(self, file: BufferedFile, lease: WriteLease) -> DomainError | None:
        """Put one buffered file; return the error if all attempts failed."""
        object_name = lease.target.key.object_name
        read_back = lease.earlier_puts.other_bytes
        attempts = _READBACK_ATTEMPTS if read_back else _PUT_ATTEMPTS
        result: DomainError | None = None
        async with self._puts:
            for _ in range(attempts):
                try:
                    lease.check_confirmed()
                    await self._objects.put(object_name, file.body)
                    if not read_back or await self._reads_back(lease, len(file.body)):
                        return None
                    await self._leases.confirm(lease)
                    result = StoreUnavailable("an earlier writer's bytes came in between")
                except StoreUnavailable as error:
                    # An earlier attempt's PUT may still be in flight, so its outcome is kept.
                    result = result if isinstance(result, PutOutcomeUnknown) else error
        return result

    async def _reads_back(self, lease: WriteLease, size_bytes: int) -> bool:
        """Wait 2 s, then return whether the object has our bytes and not an earlier writer's.

        That writer's PUT reached the store long before ours. If the store, which had stopped,
        carries it out at all, it does so while it carries out ours.
        """
        await asyncio.sleep(_READBACK_SECONDS)
        stored, object_name = ContentHasher(), lease.target.key.object_name
        try:
            async with aclosing(
                self._objects.read(object_name, size_bytes, 0, size_bytes)
            ) as pieces:
                async for piece in pieces:
                    await asyncio.get_running_loop().run_in_executor(
                        self._threads, stored.add, piece
                    )
        except ObjectDamaged:
            return False
        return stored.content().digest == lease.target.digest

    async def _commit(
        self, tenant_id: str, stored: Sequence[tuple[Submission, WriteLease]]
    ) -> dict[str, Artifact | DomainError]:
        submissions, leases = [s for s, _ in stored], [lease for _, lease in stored]
        caller, writer = current_principal(), leases[0].writer
        only_held = needs_held_run(caller.workload)
        try:
            async with self._tenants.connection(tenant_id) as connection:
                committed = await artifacts.commit(
                    connection,
                    self._layout,
                    writer,
                    caller.user_id,
                    submissions,
                    only_held=only_held,
                )
                left = [lease for lease in leases if lease.target.key.path not in committed]
                refused = await lost_lease_errors(connection, left)
        except DomainError as error:
            await self._leases.release(tenant_id, leases)
            return {submission.path: error for submission in submissions}
        FILES_COMMITTED.labels("leased").inc(len(committed))
        BYTES_WRITTEN.inc(sum(file.size_bytes for file in committed.values()))
        await self._leases.release(tenant_id, left)
        return committed | refused
