"""Reading a service's migration files, and publishing them to the tenant service."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import schema_pb2, schema_service_pb2, schema_service_pb2_grpc
from servicekit.errors import StartRefused, Unavailable
from servicekit.retries import Backoff, RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import grpc

_NAME = re.compile(r"(\d{4})_([a-z][a-z0-9_]{0,62})\.sql")
_HEADER = re.compile(r"--\s*(target|requires|transaction|behind):\s*(.*?)\s*")
_VALUES = {"transaction": "none", "behind": "served"}  # of the headers that can say one thing only
_REQUIREMENT = re.compile(r"([a-z][a-z-]{0,30}) (\d{1,4})")
_TARGETS = {
    "tenant": schema_pb2.MIGRATION_TARGET_TENANT,
    "management": schema_pb2.MIGRATION_TARGET_MANAGEMENT,
}
_BACKOFF = Backoff(0.1, 0.5)  # the service is not ready before
_log = logging.getLogger(__name__)


class MigrationMalformed(StartRefused):
    """A migration file's name or header is not right; the message names the file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of SQL, for one of its targets."""

    number: int
    name: str
    target: str
    """`tenant` or `management`; each has numbers of its own."""
    requires: tuple[tuple[str, int], ...]
    """Other services' migrations that must be applied before: (service, number)."""
    sql: str
    digest: str
    """sha256 of the file, 64 hexadecimal digits."""
    needed: bool = True
    """Whether the service refuses a tenant whose database lacks it."""


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Read a folder's files `NNNN_name.sql`, by target and number. Raises MigrationMalformed.

    A file begins with `-- target: tenant`, `-- target: management` or both, and perhaps lines such
    as `-- requires: runs 1`, `-- transaction: none` (only indexes are built or dropped, beside
    running writes) and `-- behind: served` (tenants without it are served). The numbers of a target
    are 1, 2, 3 and so on without a gap.
    """
    read = chain.from_iterable(map(_read, folder.glob("*.sql")))
    found = sorted(read, key=lambda migration: (migration.target, migration.number))
    for target in _TARGETS:
        numbers = [migration.number for migration in found if migration.target == target]
        if numbers != list(range(1, len(numbers) + 1)):
            raise MigrationMalformed(f"{folder}: the numbers for {target} are {numbers}")
    return tuple(found)


def least_number(migrations: Iterable[Migration]) -> int:
    """Return the last migration of a tenant's database without which a service cannot serve it."""
    return max((m.number for m in migrations if m.needed and m.target == "tenant"), default=0)


async def publish(
    tenant_channel: grpc.aio.Channel, service: str, migrations: Sequence[Migration]
) -> None:
    """Publish a service's migrations; wait for the tenant service as long as it is away.

    Raises DomainError when it refuses them.
    """
    stub = schema_service_pb2_grpc.SchemaServiceStub(tenant_channel)
    request = schema_service_pb2.PublishMigrationsRequest(migrations=map(_message, migrations))
    log = RetryLog(
        _log,
        "migration_registry.unavailable",
        "the migrations cannot be published yet",
        migrated_service=service,
        waits_for="tenant",
    )
    response = await retry(
        lambda: stub.PublishMigrations(request), Unavailable, log, backoff=_BACKOFF
    )
    _log.info(
        "the migrations are published",
        extra={
            "event": "migrations.published",
            "migrated_service": service,
            "new": response.published_count,
            "current_tenants": response.current_tenant_count,
            "behind_tenants": list(response.behind_tenant_ids),
        },
    )


def _read(path: Path) -> list[Migration]:
    """Return a file's migration, once for each of its targets."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise MigrationMalformed(f"{path}: the name is not NNNN_name.sql")
    content = path.read_bytes()
    targets: list[str] = []
    requires: list[tuple[str, int]] = []
    needed = True
    for header in _headers(content.decode()):
        if header[1] == "target":
            targets.append(header[2])
        elif header[1] == "requires":
            requires.append(_requirement(path, header[2]))
        elif header[2] != _VALUES[header[1]]:
            raise MigrationMalformed(f"{path}: `-- {header[1]}` can only be `{_VALUES[header[1]]}`")
        needed = needed and header[1] != "behind"
    if not targets or len(set(targets)) < len(targets) or not _TARGETS.keys() >= set(targets):
        raise MigrationMalformed(f"{path}: the header names no target: tenant, management or both")
    number, sql, digest = int(named[1]), content.decode(), hashlib.sha256(content).hexdigest()
    return [Migration(number, named[2], t, tuple(requires), sql, digest, needed) for t in targets]


def _headers(sql: str) -> Iterator[re.Match[str]]:
    for line in sql.splitlines():
        if not line.startswith("--"):
            return
        if (header := _HEADER.fullmatch(line)) is not None:
            yield header


def _requirement(path: Path, text: str) -> tuple[str, int]:
    parsed = _REQUIREMENT.fullmatch(text)
    if parsed is None:
        raise MigrationMalformed(f"{path}: `-- requires: {text}` is not `<service> <number>`")
    return parsed[1], int(parsed[2])


def _message(migration: Migration) -> schema_pb2.Migration:
    return schema_pb2.Migration(
        number=migration.number,
        name=migration.name,
        target=_TARGETS[migration.target],
        requires=[
            schema_pb2.MigrationRequirement(service=service, number=number)
            for service, number in migration.requires
        ],
        sql=migration.sql,
    )
