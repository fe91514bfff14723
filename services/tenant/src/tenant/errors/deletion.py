"""The errors of deletion, and of what it asks other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection


class PeerUnknown(Conflict):
    """The tenant service has not been configured with the address of a service."""

    reason = "ERROR_REASON_PEER_UNKNOWN"
    hint = "Set NAGAYA_RUNS_ADDRESS, NAGAYA_ARTIFACTS_ADDRESS and NAGAYA_LLM_GATEWAY_ADDRESS."

    def __init__(self, service: str) -> None:
        super().__init__(f"the tenant service does not know where {service} is", service=service)


class TenantNotDeleted(Conflict):
    """The tenant has to be deleted for this."""

    reason = "ERROR_REASON_TENANT_NOT_DELETED"
    hint = "DeleteTenant closes a tenant and keeps its data; PurgeTenant then removes it for ever."

    def __init__(self, tenant_id: str, state: str) -> None:
        super().__init__(f"the tenant {tenant_id} is {state}", tenant_id=tenant_id, state=state)


class CertificateNotFound(NotFound):
    """No tenant of this id was purged."""

    reason = "ERROR_REASON_CERTIFICATE_NOT_FOUND"
    hint = "ListOperations shows whether its purge is under way."

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"no tenant {tenant_id} was purged here", tenant_id=tenant_id)


class PurgeIncomplete(Unavailable):
    """Something of a tenant is still there after a purge; it is tried again."""

    reason = "ERROR_REASON_PURGE_INCOMPLETE"
    hint = "It goes on by itself; GetOperation shows what is left."

    def __init__(self, tenant_id: str, left: str) -> None:
        super().__init__(f"of {tenant_id} there is still {left}", tenant_id=tenant_id)


class DatabaseInUse(Unavailable):
    """Somebody who is not of the services stays in a database that is to be dropped."""

    reason = "ERROR_REASON_DATABASE_IN_USE"
    hint = "End the sessions that pg_stat_activity shows there, then call again."

    def __init__(self, database: str, users: Collection[str]) -> None:
        who = f" by {', '.join(users)}" if users else ""
        super().__init__(
            f"the database {database} is in use{who}, and cannot be dropped", database=database
        )
