"""What a purge has found, removed and looked for again, and the certificate that says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CERTIFICATE = "nagaya.deletion-certificate.v1"
"""The `type` of the signed document."""


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What there is of a tenant in one store."""

    store: str
    method: str
    """How it is removed."""
    found: int
    unproven: tuple[str, ...] = ()
    """What an empty store does not prove, as sentences."""


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a purge has found in a store, before it and after it."""

    store: str
    method: str
    found_before: int
    found_after: int
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


def _fields(note: Mapping[str, Any]) -> dict[str, Any]:
    return {**note, "unproven": tuple(note["unproven"])}
