"""The errors of moves to another server."""

from __future__ import annotations

from servicekit.errors import Conflict


class ReplicaBroken(Conflict):
    """The copy that follows a tenant's database has stopped, or does not catch up."""

    reason = "ERROR_REASON_REPLICA_BROKEN"
    hint = "The tenant is where it was. The new server's log says why; resume the operation."

    def __init__(self, tenant_id: str) -> None:
        super().__init__(
            f"the copy of the database of {tenant_id} does not follow it", tenant_id=tenant_id
        )


class CopyIncomplete(Conflict):
    """What has arrived in the new database is not what was sent."""

    reason = "ERROR_REASON_COPY_INCOMPLETE"
    hint = "The tenant is where it was; resume the operation, which copies anew."

    def __init__(self, table: str) -> None:
        super().__init__(f"the copy of {table} is not like the original", table=table)
