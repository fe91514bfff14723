"""Conversion of differences between databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import drift_pb2
from tenant.domain.drift import DifferenceKind

if TYPE_CHECKING:
    from tenant.domain.drift import SchemaDifference, TenantDrift

_MOST_CHARACTERS = 2000
_KINDS = {
    DifferenceKind.MISSING: drift_pb2.SCHEMA_DIFFERENCE_KIND_MISSING,
    DifferenceKind.UNEXPECTED: drift_pb2.SCHEMA_DIFFERENCE_KIND_UNEXPECTED,
    DifferenceKind.ALTERED: drift_pb2.SCHEMA_DIFFERENCE_KIND_ALTERED,
}


def tenant_drift(found: TenantDrift) -> drift_pb2.TenantDrift:
    return drift_pb2.TenantDrift(
        tenant_id=found.tenant_id,
        differences=map(_difference, found.differences),
        unchecked_reason=found.unchecked_reason,
    )


def _difference(found: SchemaDifference) -> drift_pb2.SchemaDifference:
    return drift_pb2.SchemaDifference(
        kind=found.kind,
        name=found.name,
        difference=_KINDS[found.difference],
        expected=found.expected[:_MOST_CHARACTERS],
        found=found.found[:_MOST_CHARACTERS],
    )
