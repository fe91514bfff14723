"""The metrics of files and of the object store."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from servicekit import telemetry

if TYPE_CHECKING:
    from collections.abc import Generator

BYTES_WRITTEN = Counter("nagaya_artifact_bytes_written", "Bytes of files that were committed.")
BYTES_READ = Counter("nagaya_artifact_bytes_read", "Bytes of files that were verified and read.")
FILES_COMMITTED = Counter(
    "nagaya_artifact_files_committed",
    "Files that were committed: `small` ones with their bytes in one statement, and `leased` ones.",
    ["how"],
)
FILES_DAMAGED = Counter(
    "nagaya_artifact_files_damaged", "Reads that found other bytes than were committed."
)
STORE_SECONDS = Histogram(
    "nagaya_object_store_request_duration_seconds",
    "How long requests to the object store took that carry bytes; `operation` is `put` or `get`, "
    "`outcome` is `done` or `failed`.",
    ["operation", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)
PUTS_POSTPONED = Counter(
    "nagaya_artifact_puts_postponed",
    "Small files that were committed, and are put into the object store later.",
)
ORPHANS = Counter(
    "nagaya_artifact_orphans_removed",
    "Objects that the collector removed: nobody had committed them.",
)


@contextmanager
def store_request(operation: str) -> Generator[None]:
    """Measure a request to the object store."""
    begun, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    except GeneratorExit:  # whoever reads has enough
        outcome = "done"
        raise
    finally:
        seconds = time.perf_counter() - begun
        STORE_SECONDS.labels(operation, outcome).observe(seconds, telemetry.exemplar())
