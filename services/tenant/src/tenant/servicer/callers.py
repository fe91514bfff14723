"""What a caller may see where a method belongs to no tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.call import current_principal
from servicekit.errors import PermissionDenied

if TYPE_CHECKING:
    from servicekit.identity import Principal


def covered_tenants(principal: Principal) -> frozenset[str] | None:
    """Return the tenants that a person's token covers; None for all."""
    return None if "*" in principal.tenants else principal.tenants


def sees(principal: Principal, tenant_id: str) -> bool:
    """Tell whether somebody who watches is told of a tenant; workloads are told of all."""
    return principal.workload is not None or principal.covers(tenant_id)


def calling_service() -> str:
    """Return which service calls. Raises PermissionDenied when a person does."""
    workload = current_principal().workload
    if workload is None:
        raise PermissionDenied
    return workload
