"""The errors of the tenant service; more of them are in the modules of this package.

DomainError
├── InvalidInput
│   ├── MigrationInvalid
│   └── ServerAddressInvalid
├── NotFound
│   ├── OperationNotFound
│   ├── ServerNotFound
│   └── TenantNotFound
├── AlreadyExists
│   ├── RequestIdReused
│   └── TenantExists
├── Conflict
│   ├── KeyManagementRefused
│   ├── MigrationChanged
│   ├── MigrationFailed
│   ├── MigrationsUnpublished
│   ├── NoServerFree
│   ├── OperationAbandoned
│   ├── OperationFailed
│   ├── OperationNotCancellable
│   ├── OperationNotResumable
│   ├── ServerUnsuitable
│   ├── TenantBehind
│   ├── TenantBusy
│   └── TenantNotReady
└── Unavailable
    ├── KeyManagementUnavailable
    └── ServerUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class MigrationInvalid(InvalidInput):
    """A published file has a command, number or requirement that is not allowed."""

    reason = "ERROR_REASON_MIGRATION_INVALID"
    hint = "Number a target's files from 1 without a gap, and leave transactions to the runner."

    def __init__(self, problem: str, number: int, line: int = 0) -> None:
        super().__init__(problem, number=str(number), line=str(line))


class ServerAddressInvalid(InvalidInput):
    """The address of a database server cannot be one, is missing, or may not be given."""

    reason = "ERROR_REASON_SERVER_ADDRESS_INVALID"
    hint = "Give postgresql://role:password@host:port/database: a provisioner, its own database."

    def __init__(self, server_id: str, problem: str) -> None:
        super().__init__(f"the address of {server_id}: {problem}", server_id=server_id)


class ServerNotFound(NotFound):
    """No database server has this id."""

    reason = "ERROR_REASON_SERVER_NOT_FOUND"
    hint = "List the servers with ListServers."

    def __init__(self, server_id: str) -> None:
        super().__init__(f"there is no database server {server_id}", server_id=server_id)


class TenantNotFound(NotFound):
    """No tenant has this id."""

    reason = "ERROR_REASON_TENANT_NOT_FOUND"
    hint = "List the tenants with ListTenants."

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"there is no tenant {tenant_id}", tenant_id=tenant_id)


class RequestIdReused(AlreadyExists):
    """The request id belongs to a request with other content."""

    reason = "ERROR_REASON_REQUEST_ID_REUSED"
    hint = "Use a new request_id for a new request."

    def __init__(self, request_id: str) -> None:
        super().__init__("this request_id was used for something else", request_id=request_id)


class TenantExists(AlreadyExists):
    """The tenant id is taken by another request."""

    reason = "ERROR_REASON_TENANT_EXISTS"
    hint = "Choose another id, or send the request_id that created it."

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"another request created the tenant {tenant_id}", tenant_id=tenant_id)


class MigrationChanged(Conflict):
    """A published migration was sent with another content."""

    reason = "ERROR_REASON_MIGRATION_CHANGED"
    hint = "A published file never changes; write what is to change into a new one."

    def __init__(self, service: str, target: str, number: int) -> None:
        super().__init__(
            f"migration {number} of {service} for {target} was published with another content",
            service=service,
            number=str(number),
        )


class MigrationFailed(Conflict):
    """A migration could not be applied to one database; `sqlstate` says why."""

    reason = "ERROR_REASON_MIGRATION_FAILED"
    hint = "GetSchemaStatus tells how far each database has come; correct the file, publish again."

    def __init__(self, service: str, number: int, sqlstate: str, message: str = "") -> None:
        super().__init__(
            f"migration {number} of {service} could not be applied: {sqlstate} {message}".rstrip(),
            service=service,
            number=str(number),
            sqlstate=sqlstate,
        )


class MigrationsUnpublished(Conflict):
    """A required service has not published its migrations yet."""

    reason = "ERROR_REASON_MIGRATIONS_UNPUBLISHED"
    hint = "Start the services named; each publishes its migrations when it starts."

    def __init__(self, services: Collection[str]) -> None:
        names = ",".join(sorted(services))
        super().__init__(f"migrations have not been published by: {names}", services=names)


class NoServerFree(Conflict):
    """No active server has the labels that are asked for, and room for one more tenant."""

    reason = "ERROR_REASON_NO_SERVER_FREE"
    hint = "ListServers tells each server's labels and tenants; register another, or ask for less."

    def __init__(self, labels: Mapping[str, str]) -> None:
        said = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        asked = f" with the labels {said}" if said else ""
        super().__init__(f"no database server{asked} has room for a tenant", labels=said)


class ServerUnsuitable(Conflict):
    """A database server lacks what tenants need; `check` names it."""

    reason = "ERROR_REASON_SERVER_UNSUITABLE"
    hint = "Nothing was left on the server; docs/tenant/servers.md lists what a server needs."

    def __init__(self, server_id: str, check: str, problem: str) -> None:
        super().__init__(
            f"the server {server_id} cannot hold tenants: {problem}",
            server_id=server_id,
            check=check,
        )


class TenantBehind(Conflict):
    """A tenant's database lacks a migration that a service cannot serve it without."""

    reason = "ERROR_REASON_TENANT_BEHIND"
    hint = "GetSchemaStatus tells what failed there; ResumeRollout or CreateRollout goes on."

    def __init__(self, tenant_id: str, service: str, applied: int, needed: int) -> None:
        super().__init__(
            f"the database of {tenant_id} has migration {applied} of {service}, not {needed}",
            tenant_id=tenant_id,
            service=service,
            applied=str(applied),
            needed=str(needed),
        )


class TenantNotReady(Conflict):
    """The tenant is being created, is suspended or deleted, or is being purged."""

    reason = "ERROR_REASON_TENANT_NOT_READY"
    hint = (
        "Finish its creation with the same CreateTenant, or remove it with DeleteTenant. "
        "ResumeTenant opens a suspended one, UndeleteTenant brings a deleted one back."
    )

    def __init__(self, tenant_id: str, state: str) -> None:
        super().__init__(f"the tenant {tenant_id} is {state}", tenant_id=tenant_id, state=state)


class OperationNotFound(NotFound):
    """No operation has this id, or the caller may not see its tenant."""

    reason = "ERROR_REASON_OPERATION_NOT_FOUND"
    hint = "List them with ListOperations."

    def __init__(self, operation_id: str) -> None:
        super().__init__(f"there is no operation {operation_id}", operation_id=operation_id)


class OperationNotCancellable(Conflict):
    """The operation has ended, or is of a kind that is not undone."""

    reason = "ERROR_REASON_OPERATION_NOT_CANCELLABLE"
    hint = "GetOperation shows how far it is; one that has failed runs again by ResumeOperation."

    def __init__(self, operation_id: str, kind: str, state: str) -> None:
        super().__init__(
            f"the operation {operation_id} ({kind}, {state}) cannot be cancelled",
            operation_id=operation_id,
            kind=kind,
            state=state,
        )


class OperationNotResumable(Conflict):
    """The operation is done or was cancelled."""

    reason = "ERROR_REASON_OPERATION_NOT_RESUMABLE"
    hint = "Send the request that began it again, with a new request_id."

    def __init__(self, operation_id: str, state: str) -> None:
        super().__init__(
            f"the operation {operation_id} is {state}", operation_id=operation_id, state=state
        )


class OperationFailed(Conflict):
    """The operation that the request asks for has failed in another process."""

    reason = "ERROR_REASON_OPERATION_FAILED"
    hint = "Mend the cause, then run it again with ResumeOperation or the same request."

    def __init__(self, operation_id: str, cause: str, message: str) -> None:
        super().__init__(
            f"the operation {operation_id} has failed: {message}",
            operation_id=operation_id,
            cause=cause,
        )


class OperationAbandoned(Conflict):
    """Process after process has ended in the middle of one step of the operation."""

    reason = "ERROR_REASON_OPERATION_ABANDONED"
    hint = "Look for why processes die in their logs, then run it again with ResumeOperation."

    def __init__(self, operation_id: str, attempts: int) -> None:
        super().__init__(
            f"{attempts - 1} processes ended while they ran the next step of the operation "
            f"{operation_id}",
            operation_id=operation_id,
        )


class TenantBusy(Conflict):
    """Another change of the tenant is under way, and goes on."""

    reason = "ERROR_REASON_TENANT_BUSY"
    hint = "Wait for the operation with WatchOperation, then call again."

    def __init__(self, tenant_id: str, operation_id: str) -> None:
        what = f"the operation {operation_id}" if operation_id else "another call"
        super().__init__(
            f"{what} is changing the tenant {tenant_id}",
            tenant_id=tenant_id,
            operation_id=operation_id,
        )


class ServerUnavailable(Unavailable):
    """The PostgreSQL server cannot be reached."""

    reason = "ERROR_REASON_SERVER_UNAVAILABLE"
    hint = "Nothing is lost; call again."

    def __init__(self, server_id: str, from_server_id: str = "") -> None:
        whence = f" from the server {from_server_id}" if from_server_id else ""
        super().__init__(
            f"the database server {server_id} cannot be reached{whence}", server_id=server_id
        )
