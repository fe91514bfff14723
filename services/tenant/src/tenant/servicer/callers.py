"""What a caller may see of methods whose request names no tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.call import current_principal
from servicekit.errors import PermissionDenied

if TYPE_CHECKING:
    from servicekit.identity import Principal


def covered_tenants(principal: Principal) -> frozenset[str] | None:
    """Return the tenant ids that a person's token covers; None for all."""
    return None if "*" in principal.tenants else principal.tenants


def may_watch(principal: Principal, tenant_id: str) -> bool:
    """Return whether WatchTenants sends a tenant to this caller; workloads get all."""
    return principal.workload is not None or principal.covers(tenant_id)


def calling_service() -> str:
    """Return the name of the calling service. Raises PermissionDenied for a person."""
    workload = current_principal().workload
    if workload is None:
        raise PermissionDenied
    return workload
