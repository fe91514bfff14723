"""Writes a tenant's bundle: its tables at one snapshot, its objects, its manifest."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING

from bundle import index as bundle_index
from bundle import manifest as bundles
from bundle import manifest_json, names, signature
from bundle.index import ObjectEntry
from bundle.writer import BundleWriter, discarded_on_failure
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from bundle.writer import FileWriter
    from dataplane.pools import Connection
    from signing import DocumentSigner
    from tenant.domain.backups import TenantObject
    from tenant.domain.tenants import Tenant
    from tenant.peers.objects import TenantObjects

    Report: TypeAlias = "Callable[[int], Awaitable[None]]"

_BUFFER_BYTES = 1 << 20
_KEYS_AT_ONCE = 200


class BundleWriting:
    """Writes one bundle into an empty folder."""

    def __init__(
        self, folder: Path, tenant: Tenant, objects: TenantObjects, report: Report
    ) -> None:
        self._writer = BundleWriter(folder)
        self._tenant = tenant
        self._objects = objects
        self._report = report
        self._written = 0
        self._tables: list[bundles.Table] = []
        self._prefix = ""
        self._index: bundles.Objects | None = None

    async def write_tables(self, sessions: Mapping[str, Connection]) -> None:
        """Write the tables, as the sessions see them."""
        for table in await tables.foreign_key_order(sessions["tenant"]):
            new = self._writer.table(table.name)
            with discarded_on_failure(new):
                file = _BufferedFile(new)
                found = await tables.read(sessions[table.service], table, file.write)
                await file.close()
            self._tables.append(
                bundles.Table(
                    table.name,
                    table.service,
                    table.columns,
                    found.rows,
                    found.size_bytes,
                    found.digest,
                )
            )
            await self._passed(found.size_bytes)

    async def write_index(self, snapshot_id: str) -> None:
        """Write the list of the tenant's objects, as a snapshot of its database has them."""
        index = self._writer.index()
        listing = self._objects.objects(self._tenant.tenant_id, snapshot_id)
        with discarded_on_failure(index):
            async with aclosing(listing) as listed:
                async for found in listed:
                    if isinstance(found, str):
                        self._prefix = found
                    else:
                        index.add(ObjectEntry(found.key, found.digest, found.size_bytes))
            self._index = await asyncio.to_thread(index.close)

    async def write_objects(self) -> None:
        """Fetch and write the objects of the list, those of equal bytes once."""
        wanted = _first_keys(self._writer.folder)
        while keys := await asyncio.to_thread(lambda: list(islice(wanted, _KEYS_AT_ONCE))):
            bodies = self._objects.bodies(self._tenant.tenant_id, keys)
            async with aclosing(bodies) as parts:
                await self._write_some(parts)

    async def finish(
        self,
        sessions: Mapping[str, Connection],
        bundle_id: str,
        installation: str,
        signer: DocumentSigner,
    ) -> bundles.Manifest:
        """Write manifest and signature; the bundle is complete afterwards."""
        if self._index is None:
            raise RuntimeError("the list of objects has not been written")
        tenant = sessions["tenant"]
        time = await tenant.fetchval("SELECT now()")
        head = await tenant.fetchrow("SELECT sequence, digest FROM audit_head")
        applied = await tenant.fetch(_APPLIED)
        if head is None:
            raise LookupError("the audit log has no head")
        manifest = bundles.Manifest(
            bundle_id=bundle_id,
            create_time=time.astimezone(UTC),
            installation=installation,
            tenant=bundles.Tenant(self._tenant.tenant_id, self._tenant.name, self._prefix),
            migrations=tuple(bundles.AppliedFile(*row) for row in applied),
            tables=tuple(self._tables),
            sequences=await _sequences(sessions),
            objects=self._index,
            audit=bundles.AuditHead(head["sequence"], head["digest"]),
        )
        raw = manifest_json.encode(manifest)
        await asyncio.to_thread(self._writer.finish, raw, signature.sign(signer, raw))
        return manifest

    async def _write_some(self, parts: AsyncGenerator[TenantObject | bytes]) -> None:
        """Write objects that come one after another, each followed by its bytes."""
        file: _BufferedFile | None = None
        try:
            async for part in parts:
                if isinstance(part, bytes):
                    if file is not None:
                        await file.write(part)
                    await self._passed(len(part))
                    continue
                if file is not None:
                    await file.close()
                new = self._writer.object(part.digest)
                file = None if new is None else _BufferedFile(new)
            if file is not None:
                await file.close()
        except BaseException:
            if file is not None:
                file.discard()
            raise

    async def _passed(self, count: int) -> None:
        self._written += count
        await self._report(self._written)


class _BufferedFile:
    """A file that is written in a thread, a MiB at a time."""

    def __init__(self, file: FileWriter) -> None:
        self._file = file
        self._pieces: list[bytes] = []
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _BUFFER_BYTES:
            await self._flush()

    async def close(self) -> None:
        await self._flush()
        await asyncio.to_thread(self._file.close)

    def discard(self) -> None:
        self._file.discard()

    async def _flush(self) -> None:
        pieces, self._pieces, self._size = b"".join(self._pieces), [], 0
        await asyncio.to_thread(self._file.write, pieces)


def _first_keys(folder: Path) -> Iterator[str]:
    """Yield the key of the first object of each digest."""
    before = ""
    with (folder / names.INDEX).open("rb") as file:
        for entry in bundle_index.read(file):
            if entry.digest != before:
                before = entry.digest
                yield entry.key


async def _sequences(sessions: Mapping[str, Connection]) -> tuple[bundles.Sequence, ...]:
    found = [
        bundles.Sequence(state.name, state.service, state.last_value, state.is_called)
        for service, session in sessions.items()
        for state in await tables.sequences(session)
        if state.service == service
    ]
    return tuple(sorted(found, key=lambda sequence: sequence.name))


_APPLIED = """
SELECT service, number, name, digest FROM schema_migrations ORDER BY service, number
"""
