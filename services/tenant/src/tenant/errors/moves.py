"""The errors of moves to another server, and of what becomes of the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED = 10


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


class ServerLost(Conflict):
    """A server is needed that an operator has said to be lost for good."""

    reason = "ERROR_REASON_SERVER_LOST"
    hint = (
        "RestoreBackup with another server_id brings a tenant back. If the server is there again, "
        "DrainServer with undo says so."
    )

    def __init__(self, server_id: str) -> None:
        super().__init__(f"the database server {server_id} is lost for good", server_id=server_id)


class ServerNotDrained(Conflict):
    """Tenants are left on a server that is drained: their moves failed, or no server has room."""

    reason = "ERROR_REASON_SERVER_NOT_DRAINED"
    hint = "Mend what ListOperations shows of their moves, or register a server; then resume it."

    def __init__(self, server_id: str, tenant_ids: Sequence[str], unplaced: Sequence[str]) -> None:
        named = ", ".join(tenant_ids[:_NAMED]) + (", …" if len(tenant_ids) > _NAMED else "")
        why = f"; for {len(unplaced)} of them no server has room" if unplaced else ""
        super().__init__(
            f"{len(tenant_ids)} tenants are left on the server {server_id}: {named}{why}",
            server_id=server_id,
            tenant_count=str(len(tenant_ids)),
        )


class ServerInUse(Conflict):
    """A server cannot be unregistered: something is there, or on its way there or away."""

    reason = "ERROR_REASON_SERVER_IN_USE"
    hint = (
        "DrainServer with move_tenants moves its tenants, PurgeTenant removes deleted ones; wait "
        "for its operations, or cancel those that have failed."
    )

    def __init__(self, server_id: str, why: str) -> None:
        super().__init__(f"the server {server_id} is in use: {why}", server_id=server_id)
