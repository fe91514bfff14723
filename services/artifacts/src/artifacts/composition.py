"""The composition root: constructs every object of the service with exactly what it uses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifacts.app.batch_copies import BatchCopies
from artifacts.app.batches import Batches
from artifacts.app.collector import COLLECTION, SWEEP, Collector, pending_work_table
from artifacts.app.committer import Committer
from artifacts.app.copies import Copies
from artifacts.app.json_processes import JsonProcesses
from artifacts.app.reader import Reader
from artifacts.app.small_files import SmallFiles
from artifacts.app.stored_bodies import StoredBodies
from artifacts.app.tenant_export import TenantExport
from artifacts.app.uploads import Uploads
from artifacts.app.write_leases import WriteLeases
from artifacts.domain.keys import BucketLayout
from artifacts.object_store.tenant_folders import TenantObjects, TenantUploads
from artifacts.servicer.artifacts import ArtifactServicer
from artifacts.servicer.bindings import bindings
from artifacts.servicer.tenant_export import TenantExportServicer
from artifacts.servicer.uploads import UploadServicer
from dataplane.pending_work_scheduler import PendingWorkScheduler
from tenantdata.servicer import TenantDataServicer
from tenantdata.stores import ManagementRows

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from artifacts.config import CollectorConfig
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import DataPlane
    from interceptor.server import Binding

_THREADS = 4


@dataclass(frozen=True, slots=True)
class Composition:
    """The objects by which a process, or a test, starts and uses the service."""

    layout: BucketLayout
    collector: Collector
    stored_bodies: StoredBodies
    bindings: Sequence[Binding]


@contextmanager
def compose(
    bucket: str, config: CollectorConfig, data: DataPlane, objects: ObjectStore
) -> Generator[Composition]:
    """Construct the service for the block, and end its threads and processes afterwards."""
    layout, tenants = BucketLayout(bucket, data.directory.path_prefix), data.tenants
    threads, json_processes = ThreadPoolExecutor(_THREADS, "bodies"), JsonProcesses()
    collections = pending_work_table(COLLECTION, config.grace_seconds)
    scheduler = PendingWorkScheduler(collections, tenants, data.management)
    leases = WriteLeases(tenants, layout, scheduler)
    stored = StoredBodies(tenants)
    small_files = SmallFiles(tenants, scheduler, objects, stored)
    committer = Committer(tenants, layout, leases, small_files, objects, threads)
    reader = Reader(tenants, layout, objects, threads, json_processes)
    uploads = Uploads(tenants, layout, scheduler, committer, config.upload_seconds)
    batches = Batches(tenants, layout, committer, reader, threads)
    copies = Copies(reader, committer)
    batch_copies = BatchCopies(tenants, layout, reader, committer)
    collector = Collector(data, layout, objects, config)
    tenant_export = TenantExport(tenants, layout, objects, reader)
    service_bindings = bindings(
        ArtifactServicer(layout, uploads, batches, copies, batch_copies, reader),
        UploadServicer(layout, uploads),
        TenantExportServicer(tenant_export),
        _tenant_data(data, objects, config, scheduler),
    )
    try:
        yield Composition(layout, collector, stored, service_bindings)
    finally:
        json_processes.close()
        threads.shutdown(wait=False, cancel_futures=True)


def _tenant_data(
    data: DataPlane, objects: ObjectStore, config: CollectorConfig, scheduler: PendingWorkScheduler
) -> TenantDataServicer:
    """Make what shows and removes a tenant's objects, and schedules work for loaded rows."""
    sweeps = pending_work_table(SWEEP, config.grace_seconds)
    schedulers = (scheduler, PendingWorkScheduler(sweeps, data.tenants, data.management))
    for one in schedulers:
        data.directory.on_change(one.forget)
    stores = (
        TenantObjects(objects.bucket),
        TenantUploads(objects.bucket),
        ManagementRows(sweeps.name, data.management),
    )
    return TenantDataServicer(stores, schedulers)
