"""An object of a tenant, apart from the bucket and the tenant that it lies in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantObject:
    """The key `{run_id}/{step}/{name}` of an object, its sha256 and its size."""

    key: str
    digest: str
    size_bytes: int
