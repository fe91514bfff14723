"""Differences between the objects in a database and those that its migrations make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tenant.domain.databases import Database

SchemaObjects: TypeAlias = "dict[tuple[str, str], str]"
"""Definitions by kind and name, such as ("column", "runs.status"): "text NOT NULL"."""

_OWN = "D"
_ROLE_END = r"(?=_(?:tenant|runs|artifacts|llm_gateway)(?:_mig)?(?![A-Za-z0-9_])|(?![A-Za-z0-9_]))"


class DifferenceKind(StrEnum):
    """How an object differs."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One object that differs; a definition is empty where the object is not there."""

    kind: str
    name: str
    difference: DifferenceKind
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class TenantDrift:
    """How a tenant's database differs; `unchecked_reason` tells why it was not looked at."""

    tenant_id: str
    differences: tuple[SchemaDifference, ...] = ()
    unchecked_reason: str = ""


def neutral_names(database: Database, template: Database, audit_owner: str) -> Callable[[str], str]:
    """Return what replaces the names of a database's roles by those that all databases share.

    `D_runs` stands for the role of runs of this database. The objects of a copy belong to the
    template's roles, whose privileges the database's own roles have: both are the same. So are the
    owners of the audit log before and after it is handed over.
    """
    names = "|".join(map(re.escape, (database.name, template.name)))
    roles = re.compile(rf"(?<![A-Za-z0-9_])(?:{names}){_ROLE_END}")
    owners = "|".join((re.escape(audit_owner), "pg_database_owner"))
    owner = re.compile(rf"(?<![A-Za-z0-9_])(?:{owners})(?![A-Za-z0-9_])")

    def replaced(text: str) -> str:
        return owner.sub(f"{_OWN}_tenant_mig", roles.sub(_OWN, text))

    return replaced


def schema_objects(
    rows: Iterable[tuple[str, str, str]], neutral: Callable[[str], str]
) -> SchemaObjects:
    """Return the objects of a database by kind and name, their roles under neutral names.

    What is granted to an object's owner is left out: it follows from the owner.
    """
    found = {(kind, neutral(name)): neutral(definition) for kind, name, definition in rows}
    owned = {
        f"{name.removeprefix('of ')} to {owner}"
        for (kind, name), owner in found.items()
        if kind == "owner"
    }
    return {
        (kind, name): definition
        for (kind, name), definition in found.items()
        if kind != "grant" or name.partition(" on ")[2] not in owned
    }


def differences(
    expected: Mapping[tuple[str, str], str], found: Mapping[tuple[str, str], str]
) -> tuple[SchemaDifference, ...]:
    """Compare two databases; the differences are sorted by kind and name."""
    compared: list[SchemaDifference] = []
    for key in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(key), found.get(key)
        if wanted == there:
            continue
        kind = DifferenceKind.ALTERED
        if there is None:
            kind = DifferenceKind.MISSING
        elif wanted is None:
            kind = DifferenceKind.UNEXPECTED
        compared.append(SchemaDifference(*key, kind, wanted or "", there or ""))
    return tuple(compared)
