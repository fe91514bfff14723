"""What a purge has found, removed and looked for again, and the certificate that says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditchain.anchors import Anchor

CERTIFICATE = "nagaya.deletion-certificate.v1"
"""The `type` of the signed document."""
_FREE_SPACE = (
    "Deleted rows, such as the tenant's name and encrypted secrets, are free space in the files of "
    "the management database and in its server's write-ahead log until others are written there."
)


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What there is of a tenant in one store."""

    store: str
    method: str
    """How it is removed."""
    found: int | None
    """None where it cannot be looked at; `unproven` says why then."""
    unproven: tuple[str, ...] = ()
    """What an empty store does not prove, as sentences."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a purge has found in a store, before it and after it."""

    store: str
    method: str
    found_before: int | None
    """None where it could not be looked at; `unproven` says why then."""
    found_after: int | None
    unproven: tuple[str, ...] = ()


def to_note(contents: Sequence[StoreContents] | Sequence[StoreReport]) -> list[dict[str, Any]]:
    """Return JSON for the notes of an operation."""
    return [asdict(one) for one in contents]


def contents_of(note: object) -> list[StoreContents]:
    """Read the contents of stores from a note."""
    return [StoreContents(**_fields(one)) for one in cast("Sequence[Mapping[str, Any]]", note)]


def reports_of(note: object) -> list[StoreReport]:
    """Read the reports on stores from a note."""
    return [StoreReport(**_fields(one)) for one in cast("Sequence[Mapping[str, Any]]", note)]


def compared(before: Sequence[StoreContents], after: Sequence[StoreContents]) -> list[StoreReport]:
    """Return a report on each store that was looked at afterwards, in that order."""
    found = {one.store: one.found for one in before}
    return [
        StoreReport(one.store, one.method, found.get(one.store, 0), one.found, one.unproven)
        for one in after
    ]


def again(first: Sequence[StoreReport], second: Sequence[StoreReport]) -> list[StoreReport]:
    """Return the reports of a first removal, with what the second one has found afterwards."""
    after = {one.store: one.found_after for one in second}
    return [replace(one, found_after=after.get(one.store, one.found_after)) for one in first]


def rows_report(notes: Mapping[str, object]) -> StoreReport:
    """Return the report on the rows that the tenant service kept of a tenant: they are deleted."""
    before = cast("int | None", notes.get("rows"))  # not in those of an earlier build's
    return StoreReport("rows of the tenant service in the management database", "DELETE", before,
                       0, (_FREE_SPACE,))  # fmt: skip


def head_of(anchor: Anchor) -> dict[str, str | int]:
    """Return JSON that says where an audit log ended."""
    return {
        "database": anchor.database,
        "sequence": anchor.sequence,
        "digest": anchor.digest,
        "anchored_time": anchor.created_at,
    }


def _fields(note: Mapping[str, Any]) -> dict[str, Any]:
    return {**note, "unproven": tuple(note["unproven"])}
