"""Constructs what anchors, visits and verifies audit logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.fair_semaphore import FairSemaphore
from signing import DocumentSigner
from tenant.app.audit import AuditVerification
from tenant.app.audit_anchors import AuditAnchors
from tenant.app.audit_sweep import AuditSweep
from tenant.domain.databases import AuditRoles
from tenant.signed_anchors import SIGNING_KEY, SignedAnchors
from tenant.store.anchor_files import AnchorFiles

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.config import Config
    from tenant.foundation import Foundation

_VERIFICATIONS = 2  # at once: each keeps a processor of the database server busy
_VERIFICATION_SECONDS = 60.0  # longer than a part may take


def compose_anchors(config: Config, management: ManagementPool, pools: TenantPools) -> AuditAnchors:
    """Construct what anchors logs, in files too where a folder is set."""
    folder = config.audit_anchor_folder
    files = None if folder is None else AnchorFiles(folder)
    signer = DocumentSigner.from_file(SIGNING_KEY, config.server.workload_key_file)
    signed = SignedAnchors(management, signer, config.server.jwks_file, files)
    return AuditAnchors(management, pools, signed)


def compose_sweep(
    config: Config, base: Foundation, anchors: AuditAnchors, pools: TenantPools
) -> AuditSweep:
    """Construct what visits logs."""
    return AuditSweep(
        base.management,
        pools,
        base.servers,
        anchors,
        base.protection,
        config.audit_anchor_seconds,
    )


def compose_verification(
    base: Foundation, anchors: AuditAnchors, pools: TenantPools
) -> AuditVerification:
    """Construct what verifies logs."""
    turns = FairSemaphore(_VERIFICATIONS, 1, _VERIFICATION_SECONDS)
    roles = AuditRoles(base.servers.main.management)
    return AuditVerification(base.management, pools, anchors, roles, turns)
