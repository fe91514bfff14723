"""Loads a verified bundle: tables into a new database, objects into the artifacts service."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg

from bundle import names, verify
from bundle.errors import BundleInvalid, Fault
from dataplane import failures
from servicekit.errors import DatabaseUnavailable
from tenant.domain.backups import TenantObject
from tenant.errors.transfers import BundleUnsuitable
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from bundle.manifest import Manifest
    from bundle.source import Entry, Source
    from dataplane.pools import Connection
    from tenant.domain.migrations import Migration

    Report: TypeAlias = "Callable[[int], Awaitable[None]]"

_DATA_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.RaiseError,
)


def migrations_of(manifest: Manifest, published: Sequence[Migration]) -> list[Migration]:
    """Return the published migrations that made a bundle's tables, in the order of application.

    Raises BundleUnsuitable if one of them was not published here, or with another content.
    """
    known = {(migration.service, migration.number): migration for migration in published}
    for file in manifest.migrations:
        here = known.get((file.service, file.number))
        if here is None:
            raise BundleUnsuitable(
                f"migration {file.number} of {file.service} has not been published here",
                service=file.service,
                number=str(file.number),
            )
        if here.digest != file.digest:
            raise BundleUnsuitable(
                f"migration {file.number} of {file.service} has another content here",
                service=file.service,
                number=str(file.number),
            )
    applied = {(file.service, file.number) for file in manifest.migrations}
    return [found for found in published if (found.service, found.number) in applied]


async def load_tables(
    sessions: Mapping[str, Connection], source: Source, manifest: Manifest, report: Report
) -> None:
    """Load all tables and sequences into a new database, and compare them with the manifest.

    Raises BundleUnsuitable, BundleInvalid, DatabaseUnavailable.
    """
    here = {table.name: table for table in await tables.foreign_key_order(sessions["tenant"])}
    _check_tables(manifest, here)
    done = 0
    with source.reading() as reading:
        for name in (names.MANIFEST, names.SIGNATURE):
            reading.next(name)
        for listed in manifest.tables:
            entry = reading.next(names.table_file(listed.name))
            table, session = here[listed.name], sessions[listed.service]
            try:
                await tables.load(session, table, _pieces(entry))
                found = await tables.digest(session, table)
            except _DATA_ERRORS as error:
                raise BundleInvalid(
                    Fault.FORMAT, entry.name, f"the database refuses its rows: {error.sqlstate}"
                ) from None
            except Exception as error:
                if failures.is_unavailable(error, session):
                    raise DatabaseUnavailable("the new database cannot be reached") from error
                raise
            if (found.rows, found.digest) != (listed.rows, listed.digest):
                raise BundleInvalid(Fault.DIGEST, entry.name, "it is not what was loaded of it")
            done += listed.size_bytes
            await report(done)
    await _set_sequences(sessions, manifest)


def _check_tables(manifest: Manifest, here: Mapping[str, tables.Table]) -> None:
    given = {table.name: table for table in manifest.tables}
    if given.keys() != here.keys():
        odd = ", ".join(sorted(given.keys() ^ here.keys()))
        raise BundleUnsuitable(f"the bundle and its migrations have not the same tables: {odd}")
    for name, table in given.items():
        if (table.columns, table.service) != (here[name].columns, here[name].service):
            raise BundleUnsuitable(f"the table {name} has other columns, or another owner, here")


async def _set_sequences(sessions: Mapping[str, Connection], manifest: Manifest) -> None:
    by_service: dict[str, list[tables.SequenceState]] = defaultdict(list)
    for state in manifest.sequences:
        by_service[state.service].append(
            tables.SequenceState(state.name, state.service, state.last_value, state.is_called)
        )
    for service, session in sessions.items():
        there = [s.name for s in await tables.sequences(session) if s.service == service]
        wanted = by_service.pop(service, [])
        if sorted(there) != sorted(state.name for state in wanted):
            raise BundleUnsuitable(f"the sequences of {service} are others here")
        await tables.set_sequences(session, wanted)
    if by_service:
        raise BundleUnsuitable("sequences belong to services that are not known here")


async def _pieces(entry: Entry) -> AsyncGenerator[bytes]:
    while data := await asyncio.to_thread(entry.read):
        yield data


async def object_parts(
    source: Source, manifest: Manifest, report: Report
) -> AsyncGenerator[TenantObject | bytes]:
    """Yield every object of a verified bundle, each followed by its bytes in pieces.

    Objects of the same bytes follow each other. Raises BundleInvalid.
    """
    done, entry = 0, None
    with source.reading() as reading:
        verify.skip_to_index(reading, manifest)
        for listed in verify.objects(source, manifest):
            name = names.object_file(listed.digest)
            if entry is None or entry.name != name:
                entry = reading.next(name)
            else:
                entry.rewind()
            yield TenantObject(listed.key, listed.digest, listed.size_bytes)
            async for piece in _pieces(entry):
                yield piece
                done += len(piece)
                await report(done)
