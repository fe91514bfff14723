"""The manifest: what a bundle holds, with sizes and digests; its sha256 stands for everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data it is."""

    tenant_id: str
    name: str
    path_prefix: str
    """What the paths of its files begin with, before the run: `storage/acme`."""


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """A migration that was applied to the database."""

    service: str
    number: int
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a file of PostgreSQL's COPY text format, ordered by its primary key."""

    name: str
    service: str
    """Whose migrations made it."""
    columns: tuple[str, ...]
    rows: int
    size_bytes: int
    digest: str
    """The sha256 of the file."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The state of a sequence."""

    name: str
    service: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class Objects:
    """The files of the tenant's runs; `objects.jsonl` lists them."""

    count: int
    """The lines of the list: several may have the same bytes."""
    size_bytes: int
    """Of the different ones together."""
    index_size_bytes: int
    index_digest: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where the audit log ends."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a bundle."""

    bundle_id: str
    create_time: datetime
    """Of the snapshot that everything was read at."""
    installation: str
    """The id of the installation that wrote it."""
    tenant: Tenant
    migrations: tuple[AppliedFile, ...]
    tables: tuple[Table, ...]
    """In the order in which they are loaded: what others refer to comes first."""
    sequences: tuple[Sequence, ...]
    objects: Objects
    audit: AuditHead
