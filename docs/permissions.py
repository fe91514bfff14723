"""docs/permissions.md: what each permission allows, read from the policies of the contracts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docs.tables import table

from nagaya.options.v1 import method_policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto

_SERVICE, _METHOD = 6, 2  # field numbers of FileDescriptorProto and ServiceDescriptorProto
_SENTENCE = re.compile(r".+?(?:\.(?=\s|$)|:(?=\n|$))", re.DOTALL)
_HEAD = """\
# Permissions

Made by `make docs` from the policies in the contracts: what each permission allows to people.

A token has permissions and tenants, and each permission holds for each of the tenants.
[identity.md](identity.md) says how it comes by them. `runs.*` is every permission that begins with
`runs.`, and `*` is every one. In the column of tenants, "one" is a call for one tenant; "all"
changes what belongs to no tenant, so the token must have all tenants, `*`. The column of services
names those that may call too, whatever the person for whom they act may do. A call needs no further
permission, but where the comment of the method or its service in `protos/` says so. A step of kind
`approval` may ask for a permission of your own invention, such as `invoices.approve`, besides
`approvals.decide`.
"""
_NOBODY = """\
## Calls for services only

No permission allows these to people; the services call one another.
"""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call of the contract, and who may make it."""

    permission: str
    name: str
    package: str
    meaning: str
    tenants: str
    workloads: str


def page(files: Iterable[FileDescriptorProto]) -> str:
    """Return the text of docs/permissions.md."""
    found = sorted(calls(files), key=_place)
    parts = [_HEAD]
    for family in dict.fromkeys(call.permission.partition(".")[0] for call in found):
        rows = [call for call in found if call.permission.partition(".")[0] == family]
        parts.append(_section(family, rows))
    return "\n".join(parts)


def _place(call: Allowed) -> tuple[object, ...]:
    return call.permission == "", call.permission, call.package, call.name


def calls(files: Iterable[FileDescriptorProto]) -> Iterator[Allowed]:
    """Read every method of the contracts."""
    for file in files:
        texts = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                text = texts.get((_SERVICE, number, _METHOD, index), "")
                yield _call(
                    file.package.split(".")[1], f"{service.name}.{method.name}", method, text
                )


def _call(package: str, name: str, method: MethodDescriptorProto, text: str) -> Allowed:
    options = method.options
    policy = options.Extensions[method_policy_pb2.policy]
    sentence = _SENTENCE.match(text.strip())
    changes = options.idempotency_level != options.NO_SIDE_EFFECTS
    tenants = "one" if policy.tenant_field else "all" if changes else ""
    return Allowed(
        permission=policy.permission,
        name=name,
        package=package.replace("_", "-"),
        meaning=" ".join((sentence[0] if sentence else text).split()),
        tenants=tenants,
        workloads=", ".join(policy.workloads),
    )


def _section(family: str, rows: list[Allowed]) -> str:
    head = ("permission", "call", "of", "tenants", "services", "what it does")
    lines = (
        (
            f"`{row.permission}`" if family else "",
            f"`{row.name}`",
            row.package,
            row.tenants,
            row.workloads,
            row.meaning,
        )
        for row in rows
    )
    return "\n".join([f"## {family}\n" if family else _NOBODY, table(head, lines)])
