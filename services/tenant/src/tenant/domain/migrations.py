"""Migrations: numbered SQL files, each applied once to every database of its target."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tenant.domain.concurrent_indexes import INDEX_STATEMENTS, IndexStatement
from tenant.domain.databases import SERVICES
from tenant.domain.statements import statements
from tenant.errors import MigrationChanged, MigrationInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_ANY_NUMBER = 1_000_000
_TRANSACTION = re.compile(r"--\s*transaction:\s*(.*?)\s*")


class MigrationTarget(StrEnum):
    """Which databases a migration is for."""

    MANAGEMENT = "management"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Migration:
    """One published SQL file of one service."""

    service: str
    target: MigrationTarget
    number: int
    name: str
    requires: tuple[tuple[str, int], ...]
    """Other services' migrations, for the same target, that must be applied before."""
    sql: str
    digest: str

    @classmethod
    def parse(
        cls,
        service: str,
        target: MigrationTarget,
        number: int,
        name: str,
        requires: Iterable[tuple[str, int]],
        sql: str,
    ) -> Migration:
        """Check one file. Raises MigrationInvalid."""
        transactional = _is_transactional(number, name, sql)
        for statement in statements(sql):
            text = sql[statement.start : statement.end]
            problem = statement.forbidden_command()
            if not problem and not transactional and IndexStatement.parse(text) is None:
                problem = f"without a transaction anything but {INDEX_STATEMENTS}"
            if problem:
                where = f"migration {number} ({name}), line {statement.line}"
                raise MigrationInvalid(f"{where}: {problem} is not allowed", number, statement.line)
        required = tuple(requires)
        for other, _ in required:
            if other not in SERVICES or other == service:
                raise MigrationInvalid(f"migration {number} cannot require {other}", number)
        digest = hashlib.sha256(sql.encode()).hexdigest()
        return cls(service, target, number, name, required, sql, digest)

    @property
    def transactional(self) -> bool:
        """Whether the file is applied in one transaction, its record included."""
        return _is_transactional(self.number, self.name, self.sql)

    @property
    def index_statements(self) -> list[IndexStatement]:
        """The statements of a file that is applied without a transaction."""
        parsed = (IndexStatement.parse(self.sql[s.start : s.end]) for s in statements(self.sql))
        return [statement for statement in parsed if statement is not None]


def check_numbers(migrations: Iterable[Migration]) -> None:
    """Raise MigrationInvalid unless each target's numbers are 1, 2, 3 and so on."""
    seen = dict.fromkeys(MigrationTarget, 0)
    for migration in sorted(migrations, key=lambda m: m.number):
        seen[migration.target] += 1
        if migration.number != seen[migration.target]:
            missing = seen[migration.target]
            problem = "is missing" if migration.number > missing else "is there twice"
            number = min(missing, migration.number)
            raise MigrationInvalid(f"{migration.target} migration {number} {problem}", number)


def unpublished(
    known: Sequence[Migration],
    service: str,
    given: Iterable[Migration],
    replaceable: Mapping[str, int],
) -> list[Migration]:
    """Return those of a service's migrations that are not published yet.

    An older release sends fewer than are known; none is new then. From the number in `replaceable`
    on, by target, migrations have failed and were applied nowhere: they may be corrected. Raises
    MigrationChanged, MigrationInvalid.
    """
    digests = {(m.target, m.number): m.digest for m in known if m.service == service}
    new: list[Migration] = []
    for migration in given:
        digest = digests.get((migration.target, migration.number))
        frozen = migration.number < replaceable.get(migration.target, _ANY_NUMBER)
        if digest is not None and digest != migration.digest and frozen:
            raise MigrationChanged(service, migration.target, migration.number)
        if digest != migration.digest:
            new.append(migration)
    replaced = {(m.service, m.target, m.number) for m in new}
    kept = [m for m in known if (m.service, m.target, m.number) not in replaced]
    _check_requirements([*kept, *new])
    return new


def next_migration(
    published: Iterable[Migration], applied: Mapping[str, int], failed: Collection[str]
) -> Migration | None:
    """Return the migration to apply next to a database; `applied` has the last number by service.

    `published` is for the database's target. None when nothing is left, or the rest lacks a
    requirement or belongs to a service in `failed`.
    """
    for migration in published:
        if (
            migration.number == applied.get(migration.service, 0) + 1
            and migration.service not in failed
            and all(applied.get(other, 0) >= number for other, number in migration.requires)
        ):
            return migration
    return None


def applicable_services(published: Sequence[Migration], applied: Mapping[str, int]) -> list[str]:
    """Return the services of which a migration can be applied, in the order of application."""
    numbers = dict(applied)
    found: dict[str, None] = {}
    while (migration := next_migration(published, numbers, ())) is not None:
        numbers[migration.service] = migration.number
        found[migration.service] = None
    return [*found]


def fingerprint(published: Iterable[Migration]) -> str:
    """Return a sha256 over all migrations."""
    digest = hashlib.sha256()
    for migration in published:
        digest.update(f"{migration.service} {migration.number} {migration.digest}\n".encode())
    return digest.hexdigest()


def unpublished_services(published: Iterable[Migration], required: Iterable[str]) -> set[str]:
    """Return the services whose migrations a new database lacks.

    Those of `required` that have published nothing, and those that have not published what the
    migrations of others require.
    """
    migrations = tuple(published)
    last = _last_numbers(migrations)
    missing = {service for service in required if service not in last}
    return missing | {
        other for m in migrations for other, number in m.requires if last.get(other, 0) < number
    }


def _check_requirements(migrations: Iterable[Migration]) -> None:
    """Raise MigrationInvalid when migrations require each other in a circle."""
    for target in MigrationTarget:
        left = [migration for migration in migrations if migration.target is target]
        last = _last_numbers(left)
        # What is not published yet may come later: only circles are refused.
        applied = {service: 0 if service in last else _ANY_NUMBER for service in SERVICES}
        while (done := next_migration(left, applied, ())) is not None:
            applied[done.service] = (
                _ANY_NUMBER if done.number == last[done.service] else done.number
            )
        for migration in left:
            if applied[migration.service] < migration.number:
                number, service = migration.number, migration.service
                raise MigrationInvalid(
                    f"migration {number} of {service} requires what itself waits for it", number
                )


def _is_transactional(number: int, name: str, sql: str) -> bool:
    """Read `-- transaction: none` of a file's first lines. Raises MigrationInvalid."""
    for place, line in enumerate(io.StringIO(sql), 1):
        if not line.startswith("--"):
            break
        header = _TRANSACTION.fullmatch(line.rstrip("\n"))
        if header is not None and header[1] != "none":
            where = f"migration {number} ({name}), line {place}"
            raise MigrationInvalid(f"{where}: `transaction` can only be `none`", number, place)
        if header is not None:
            return False
    return True


def _last_numbers(migrations: Iterable[Migration]) -> dict[str, int]:
    last: dict[str, int] = {}
    for migration in migrations:
        last[migration.service] = max(last.get(migration.service, 0), migration.number)
    return last
