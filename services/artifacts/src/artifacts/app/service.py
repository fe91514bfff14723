"""The parts of the service, put together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from artifacts.app.batches import Batches
from artifacts.app.collector import Collector
from artifacts.app.commits import Commits
from artifacts.app.copies import Copies
from artifacts.app.documents import Documents
from artifacts.app.leases import Leases
from artifacts.app.pending_work import PendingWork
from artifacts.app.reading import Reader
from artifacts.app.uploads import Uploads
from artifacts.domain.keys import KeySpace
from artifacts.store.stores import Stores

if TYPE_CHECKING:
    from artifacts.blobs.store import Blobs
    from artifacts.config import CollectorConfig
    from dataplane.tenants import DataPlane

_THREADS = 4


class Service:
    """What the servicers and the collector are made of. Close it at the end."""

    def __init__(self, bucket: str, config: CollectorConfig, data: DataPlane, blobs: Blobs) -> None:
        self.keys = KeySpace(bucket)
        self._threads = ThreadPoolExecutor(_THREADS, "bodies")
        stores, tenants = Stores(self.keys), data.tenants
        pending = PendingWork(tenants, data.management, stores.pending_work, config.grace_seconds)
        leases = Leases(tenants, stores, pending)
        commits = Commits(tenants, stores, leases, blobs, self._threads)
        self._documents = Documents()
        self.reader = Reader(tenants, stores, blobs, self._threads, self._documents)
        self.uploads = Uploads(tenants, stores, pending, commits, config.upload_seconds)
        self.batches = Batches(tenants, stores, commits, self.reader, self._threads)
        self.copies = Copies(self.reader, commits)
        self.collector = Collector(data, stores, self.keys, blobs, config)

    def close(self) -> None:
        self._documents.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
