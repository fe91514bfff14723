"""Conversion between messages and the domain: what RepairTenants finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import tenant_finding_pb2

if TYPE_CHECKING:
    from tenant.domain.repair import Finding


def finding(found: Finding) -> tenant_finding_pb2.TenantFinding:
    kind = f"TENANT_FINDING_KIND_{found.kind.upper()}"
    action = f"TENANT_FINDING_ACTION_{found.action.upper()}"
    return tenant_finding_pb2.TenantFinding(
        kind=tenant_finding_pb2.TenantFindingKind.Value(kind),
        name=found.name,
        description=found.description,
        action=tenant_finding_pb2.TenantFindingAction.Value(action),
        hint=found.hint,
    )
