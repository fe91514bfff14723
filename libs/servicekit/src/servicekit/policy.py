"""Method policies: what each method requires of its caller, read from the contract."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool

from nagaya.options.v1 import method_policy_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

DEFAULT_SECONDS = 30


class PolicyMissing(Exception):
    """The contract has no policy for a method, or one that cannot be; the message names it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the contract and its policy.

    `path` is as on the wire: /nagaya.runs.v1.RunService/CreateRun. `domain` is that of the
    service's own reasons: runs.nagaya.dev. `repeatable`: gRPC may retry a request by itself.
    `changes_all`: it changes something that belongs to no tenant. `tenant_of` reads the tenant from
    a request; it is None for methods that belong to no tenant.
    """

    path: str
    domain: str
    permission: str
    audit_action: str
    workloads: frozenset[str]
    max_seconds: float
    repeatable: bool
    streaming: bool
    changes_all: bool
    tenant_of: Callable[[Message], str] | None


def methods_of(service_name: str) -> dict[str, Method]:
    """Return a service's methods by name; its module must have been imported.

    Raises PolicyMissing, naming the method.
    """
    service = descriptor_pool.Default().FindServiceByName(service_name)
    return {method.name: _method(service_name, method) for method in service.methods}


def _method(service_name: str, method: MethodDescriptor) -> Method:
    options = method.GetOptions()
    policy = options.Extensions[method_policy_pb2.policy]
    if not options.HasExtension(method_policy_pb2.policy):
        raise PolicyMissing(f"{method.full_name} has no option (nagaya.options.v1.policy)")
    if not options.HasField("idempotency_level"):
        raise PolicyMissing(f"{method.full_name} has no option idempotency_level")
    if not policy.permission and not policy.workloads:
        raise PolicyMissing(f"{method.full_name} has neither a permission nor workloads")
    return Method(
        path=f"/{service_name}/{method.name}",
        domain=f"{service_name.split('.')[-3]}.nagaya.dev",
        permission=policy.permission,
        audit_action=policy.audit_action,
        workloads=frozenset(policy.workloads),
        max_seconds=float(policy.max_seconds or DEFAULT_SECONDS),
        # Not streams of requests: gRPC 1.85 aborts the whole process (buffered_call.cc, "pending ==
        # nullptr") when it repeats one whose server has died.
        repeatable=options.idempotency_level != options.IDEMPOTENCY_UNKNOWN
        and not method.client_streaming,
        streaming=method.client_streaming or method.server_streaming,
        changes_all=not policy.tenant_field
        and options.idempotency_level != options.NO_SIDE_EFFECTS,
        tenant_of=_tenant_of(method, policy.tenant_field),
    )


def _tenant_of(method: MethodDescriptor, path: str) -> Callable[[Message], str] | None:
    if not path:
        return None
    message, field = method.input_type, None
    for name in path.split("."):
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None:
            raise PolicyMissing(f"{method.full_name} has no request field {path} for its tenant")
        message = field.message_type
    if field is None or field.type != field.TYPE_STRING or field.is_repeated:
        raise PolicyMissing(f"{method.full_name}: {path} is not one string and names no tenant")
    return attrgetter(path)
