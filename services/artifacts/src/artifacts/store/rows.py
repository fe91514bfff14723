"""Conversion of rows to the domain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artifacts.domain.files import Artifact, Draft

if TYPE_CHECKING:
    import asyncpg

    from artifacts.domain.keys import BucketLayout

ARTIFACT_COLUMNS = (
    "id, run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,"
    " metrics, fractional_metrics, metadata, created_at"
)


def draft(layout: BucketLayout, tenant_id: str, row: asyncpg.Record) -> Draft:
    """Convert a row of `artifacts` or `uploads`."""
    return Draft(
        key=layout.parse(tenant_id, row["file_path"]),
        item=row["item"],
        visit=row["visit"],
        file_type=row["file_type"],
        summary=row["summary"],
        metrics=json.loads(row["metrics"]),
        fractional_metrics=json.loads(row["fractional_metrics"] or "{}"),
        metadata=json.loads(row["metadata"] or "{}"),
    )


def artifact(layout: BucketLayout, tenant_id: str, row: asyncpg.Record) -> Artifact:
    """Convert a row of `artifacts` with ARTIFACT_COLUMNS."""
    return Artifact(
        artifact_id=row["id"],
        draft=draft(layout, tenant_id, row),
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        create_time=row["created_at"],
    )
