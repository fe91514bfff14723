"""Constructs what anchors, visits and verifies audit logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interceptor.fair_semaphore import FairSemaphore
from signing import DocumentSigner
from tenant.app.audit import AuditVerification
from tenant.app.audit_anchors import AuditAnchors
from tenant.app.audit_sweep import AuditSweep
from tenant.domain.databases import AuditRoles
from tenant.servicer.audit import AuditServicer
from tenant.signed_anchors import SIGNING_KEY, SignedAnchors
from tenant.store.anchor_files import AnchorFiles

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.composition.foundation import Foundation
    from tenant.config import Config

_VERIFICATIONS = 2  # at once: each keeps a processor of the database server busy
_VERIFICATION_SECONDS = 60.0  # longer than a part may take


@dataclass(frozen=True, slots=True)
class LogComposition:
    """The objects by which audit logs are anchored, visited and verified."""

    anchors: AuditAnchors
    sweep: AuditSweep
    verification: AuditVerification
    servicer: AuditServicer


def compose_logs(config: Config, base: Foundation, pools: TenantPools) -> LogComposition:
    """Construct them; anchors are kept in files too where a folder is set."""
    anchors = _anchors(config, base.management, pools)
    sweep = AuditSweep(
        base.management,
        pools,
        base.servers,
        anchors,
        base.protection,
        config.audit_anchor_seconds,
    )
    turns = FairSemaphore(_VERIFICATIONS, 1, _VERIFICATION_SECONDS)
    roles = AuditRoles(base.servers.main.management)
    verification = AuditVerification(base.management, pools, anchors, roles, turns)
    servicer = AuditServicer(base.management, pools, verification, anchors)
    return LogComposition(anchors, sweep, verification, servicer)


def _anchors(config: Config, management: ManagementPool, pools: TenantPools) -> AuditAnchors:
    folder = config.audit_anchor_folder
    files = None if folder is None else AnchorFiles(folder)
    signer = DocumentSigner.from_file(SIGNING_KEY, config.server.workload_key_file)
    signed = SignedAnchors(management, signer, config.server.jwks_file, files)
    return AuditAnchors(management, pools, signed)
