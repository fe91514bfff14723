"""Conversion between protobuf messages and the domain."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf import json_format

from nagaya.tenant.v1 import (
    audit_log_pb2,
    audit_service_pb2,
    connection_pb2,
    schema_pb2,
    schema_service_pb2,
    tenant_pb2,
)
from servicekit.times import timestamp
from tenant.domain.audit import ChainLink, FaultKind
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.tenants import TenantState

if TYPE_CHECKING:
    from collections.abc import Iterable

    import paging
    from dataplane.connection_parameters import ConnectionParameters
    from tenant.domain.audit import AuditLog, SignedAnchor, Verification
    from tenant.domain.schema import Publication, SchemaStatus
    from tenant.domain.tenants import Tenant

_STATES = {
    TenantState.CREATING: tenant_pb2.TENANT_STATE_CREATING,
    TenantState.ACTIVE: tenant_pb2.TENANT_STATE_ACTIVE,
    TenantState.SUSPENDED: tenant_pb2.TENANT_STATE_SUSPENDED,
    TenantState.DELETED: tenant_pb2.TENANT_STATE_DELETED,
    TenantState.PURGING: tenant_pb2.TENANT_STATE_PURGING,
}
_TARGETS = {
    schema_pb2.MIGRATION_TARGET_MANAGEMENT: MigrationTarget.MANAGEMENT,
    schema_pb2.MIGRATION_TARGET_TENANT: MigrationTarget.TENANT,
}

_FAULT_KINDS = {
    FaultKind.DIGEST: audit_log_pb2.AUDIT_LOG_FAULT_KIND_DIGEST,
    FaultKind.SEQUENCE: audit_log_pb2.AUDIT_LOG_FAULT_KIND_SEQUENCE,
    FaultKind.HEAD: audit_log_pb2.AUDIT_LOG_FAULT_KIND_HEAD,
    FaultKind.KNOWN_DIGEST: audit_log_pb2.AUDIT_LOG_FAULT_KIND_KNOWN_DIGEST,
    FaultKind.ANCHOR: audit_log_pb2.AUDIT_LOG_FAULT_KIND_ANCHOR,
}


def tenant(tenant: Tenant) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        state=_STATES[tenant.state],
        database=tenant.database.name,
        server_id=tenant.server_id,
        generation=tenant.generation,
        create_time=timestamp(tenant.create_time),
        update_time=timestamp(tenant.update_time),
        delete_time=None if tenant.delete_time is None else timestamp(tenant.delete_time),
        purge_time=None if tenant.purge_time is None else timestamp(tenant.purge_time),
        path_prefix=tenant.path_prefix,
    )


def connection(parameters: ConnectionParameters) -> connection_pb2.Connection:
    return connection_pb2.Connection(
        host=parameters.host,
        port=parameters.port,
        database=parameters.database,
        user=parameters.user,
        password=parameters.password,
        generation=parameters.generation,
        connection_limit=parameters.connection_limit,
        server_id=parameters.server_id,
        server_connection_limit=parameters.server_limit,
        next_password=parameters.next_password,
    )


def migration(service: str, message: schema_pb2.Migration) -> Migration:
    """Convert a service's migration. Raises MigrationInvalid."""
    return Migration.parse(
        service,
        _TARGETS[message.target],
        message.number,
        message.name,
        [(required.service, required.number) for required in message.requires],
        message.sql,
    )


def migrations(service: str, messages: Iterable[schema_pb2.Migration]) -> list[Migration]:
    """Convert a service's migrations. Raises MigrationInvalid."""
    return [migration(service, message) for message in messages]


def publication(result: Publication) -> schema_service_pb2.PublishMigrationsResponse:
    return schema_service_pb2.PublishMigrationsResponse(
        published_count=result.published_count,
        current_tenant_count=result.current_tenant_count,
        behind_tenant_ids=result.behind_tenant_ids,
    )


def schema_status(status: SchemaStatus) -> schema_pb2.SchemaStatus:
    return schema_pb2.SchemaStatus(
        tenant_id=status.tenant_id,
        service=status.service,
        applied_number=status.applied_number,
        published_number=status.published_number,
        apply_time=None if status.apply_time is None else timestamp(status.apply_time),
        failure=status.failure,
    )


def audit_log(entry: AuditLog) -> audit_log_pb2.AuditLog:
    message = audit_log_pb2.AuditLog(
        sequence=entry.sequence,
        user_id=entry.user_id,
        action=entry.action,
        resource_type=entry.resource_type,
        resource_id=entry.resource_id,
        database_role=entry.database_role,
        create_time=timestamp(entry.create_time),
        digest=entry.digest,
    )
    if isinstance(entry.details, str):
        message.details_text = entry.details
    elif entry.details is not None:
        json_format.ParseDict(dict(entry.details), message.details)
    return message


def audit_log_page(
    page: paging.Page[AuditLog], head: ChainLink | None
) -> audit_service_pb2.ListAuditLogsResponse:
    message = audit_service_pb2.ListAuditLogsResponse(
        audit_logs=map(audit_log, page.items), next_page_token=page.next_token
    )
    if head is not None:
        message.head.sequence, message.head.digest = head.sequence, head.digest
    return message


def audit_anchor_page(
    page: paging.Page[SignedAnchor],
) -> audit_service_pb2.ListAuditAnchorsResponse:
    return audit_service_pb2.ListAuditAnchorsResponse(
        audit_anchors=map(_audit_anchor, page.items), next_page_token=page.next_token
    )


def _audit_anchor(signed: SignedAnchor) -> audit_log_pb2.AuditAnchor:
    message = audit_log_pb2.AuditAnchor(
        database=signed.database, sequence=signed.sequence, document=signed.document
    )
    if (anchor := signed.anchor) is not None:
        message.since, message.digest = anchor.since, anchor.digest
        message.create_time.CopyFrom(timestamp(datetime.fromisoformat(anchor.created_at)))
    return message


def known_entry(request: audit_service_pb2.VerifyAuditLogRequest) -> ChainLink | None:
    if not request.known_sequence:
        return None
    return ChainLink(request.known_sequence, request.known_digest)


def verification(found: Verification) -> audit_service_pb2.VerifyAuditLogResponse:
    message = audit_service_pb2.VerifyAuditLogResponse(
        entry_count=found.count,
        head_sequence=found.head.sequence,
        head_digest=found.head.digest,
        unchained_count=found.unchained,
        anchored_sequence=found.anchored_sequence,
        is_protected=found.is_protected,
    )
    if found.unchained_age is not None:
        message.unchained_age.FromTimedelta(found.unchained_age)
    if found.fault is not None:
        message.first_fault.sequence = found.fault.sequence
        message.first_fault.kind = _FAULT_KINDS[found.fault.kind]
    return message
