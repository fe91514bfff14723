"""The errors about exports, imports and bundles.

DomainError
├── InvalidInput
│   ├── BundleRefused
│   └── UploadInvalid
├── NotFound
│   └── BundleNotFound
├── Conflict
│   ├── AuditLogAltered
│   ├── BundleUnsuitable
│   ├── RunsInFlight
│   └── TransfersNotConfigured
└── LimitExceeded
    └── BundleTooLarge
"""

from __future__ import annotations

from servicekit.errors import Conflict, InvalidInput, LimitExceeded, NotFound


class BundleRefused(InvalidInput):
    """A bundle is damaged, or signed by nobody who is trusted; nothing of it was used."""

    reason = "ERROR_REASON_BUNDLE_INVALID"
    hint = (
        "Export it again, or send the JWKS of the installation that wrote it; nagaya bundle verify "
        "tells more."
    )

    def __init__(self, fault: str, entry: str, problem: str) -> None:
        message = f"{entry}: {problem}" if entry else problem
        super().__init__(f"the bundle is refused: {message}", fault=fault, entry=entry)


class UploadInvalid(InvalidInput):
    """The messages of an upload do not fit together."""

    reason = "ERROR_REASON_UPLOAD_INVALID"
    hint = "Go on at the byte up to which the upload has come, or begin it anew."


class BundleNotFound(NotFound):
    """There is no such bundle, it is not complete, or its time is over."""

    reason = "ERROR_REASON_BUNDLE_NOT_FOUND"
    hint = "Bundles are kept for NAGAYA_TRANSFER_HOURS; export or upload it again."

    def __init__(self, bundle_id: str) -> None:
        super().__init__(f"there is no complete bundle {bundle_id}", bundle_id=bundle_id)


class BundleUnsuitable(Conflict):
    """A bundle is whole, and its tables are not those that the migrations here make."""

    reason = "ERROR_REASON_BUNDLE_UNSUITABLE"
    hint = "Deploy the release here that the bundle was written with, or a later one."


class AuditLogAltered(Conflict):
    """An audit log is not as it was written: a bundle's signature would vouch for it."""

    reason = "ERROR_REASON_AUDIT_LOG_ALTERED"
    hint = (
        "nagaya audit verify tells more. Restore a backup from before the change and export that, "
        "or give the data away as a backup: that has the log as it is, and says so."
    )

    def __init__(self, tenant_id: str, sequence: int) -> None:
        super().__init__(
            f"the audit log of {tenant_id} is not as it was written from entry {sequence} on",
            tenant_id=tenant_id,
            sequence=str(sequence),
        )


class RunsInFlight(Conflict):
    """A tenant has runs that are in progress: their workflows cannot be moved."""

    reason = "ERROR_REASON_RUNS_IN_FLIGHT"
    hint = "Wait for them or cancel them, start no new ones, and export again; drain waits."

    def __init__(self, tenant_id: str, runs: int, calls: int) -> None:
        super().__init__(
            f"the tenant {tenant_id} has {runs} runs and {calls} calls of models in progress",
            tenant_id=tenant_id,
            runs=str(runs),
            calls=str(calls),
        )


class TransfersNotConfigured(Conflict):
    """A setting that exports and imports need is missing."""

    reason = "ERROR_REASON_TRANSFERS_NOT_CONFIGURED"
    hint = "Start the tenant service with NAGAYA_TRANSFER_FOLDER and NAGAYA_ARTIFACTS_ADDRESS."

    def __init__(self, problem: str) -> None:
        super().__init__(f"nothing can be exported or imported: {problem}")


class BundleTooLarge(LimitExceeded):
    """There is no room for an upload."""

    reason = "ERROR_REASON_BUNDLE_TOO_LARGE"
    hint = "Make room in the folder of bundles, or import on a machine that has it."

    def __init__(self, size: int) -> None:
        super().__init__(f"there is no room for {size:,} bytes", size_bytes=str(size))
