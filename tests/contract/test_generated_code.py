"""What is committed below protos/gen is what the contracts say, and every method says who may."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import protovalidate
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from nagaya.options.v1 import method_policy_pb2
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import FileDescriptor

CLONE = Path(__file__).resolve().parents[2]
CONTRACTS = CLONE / "protos" / "nagaya"
WORKLOADS = {"artifacts", "llm-gateway", "runs", "tenant"}
NO_SIDE_EFFECTS = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
IDEMPOTENT = descriptor_pb2.MethodOptions.IDEMPOTENT

# An announced file is known by its path and digest, and audited when it is committed.
ANNOUNCEMENTS = {"nagaya.artifacts.v1.UploadService.CreateUpload"}


def _methods() -> list[MethodDescriptor]:
    found: list[MethodDescriptor] = []
    for file in sorted(CONTRACTS.glob("*/v1/*_service.proto")):
        name = file.relative_to(CLONE / "protos").as_posix()
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        services = descriptor_pool.Default().FindFileByName(name).services_by_name.values()
        found.extend(method for service in services for method in service.methods)
    return found


def _files() -> Iterator[FileDescriptor]:
    for file in sorted(CONTRACTS.glob("*/v1/*.proto")):
        name = file.relative_to(CLONE / "protos").as_posix()
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        yield descriptor_pool.Default().FindFileByName(name)


def _messages(found: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in found:
        yield message
        yield from _messages(message.nested_types)


def _policy(method: MethodDescriptor) -> method_policy_pb2.MethodPolicy:
    return method.GetOptions().Extensions[method_policy_pb2.policy]


def _level(method: MethodDescriptor) -> int:
    return method.GetOptions().idempotency_level


METHODS = [pytest.param(method, id=method.full_name) for method in _methods()]
every_method = pytest.mark.parametrize("method", METHODS)


def test_the_committed_stubs_are_what_the_contracts_generate() -> None:
    done = subprocess.run(
        [sys.executable, CLONE / "protos" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_there_are_methods_to_look_at() -> None:
    packages = {str(method.containing_service.file.package) for method in _methods()}

    assert packages == {
        "nagaya.artifacts.v1",
        "nagaya.llm_gateway.v1",
        "nagaya.runs.v1",
        "nagaya.tenant.v1",
        "nagaya.tenant_data.v1",
    }


@every_method
def test_a_method_says_who_may_call_it(method: MethodDescriptor) -> None:
    assert method.GetOptions().HasExtension(method_policy_pb2.policy)
    policy = _policy(method)

    assert policy.permission or policy.workloads
    assert set(policy.workloads) <= WORKLOADS


@every_method
def test_a_tenant_field_is_a_text_field_of_the_request(method: MethodDescriptor) -> None:
    """A dotted name goes through messages, such as `header.tenant_id` of a stream's first part."""
    tenant_field = _policy(method).tenant_field
    if not tenant_field:
        return
    message: Descriptor | None = method.input_type
    *outer, last = tenant_field.split(".")
    for name in outer:
        assert message is not None
        message = message.fields_by_name[name].message_type

    assert message is not None
    assert message.fields_by_name[last].type == FieldDescriptor.TYPE_STRING


@every_method
def test_a_method_says_what_a_repeated_call_does(method: MethodDescriptor) -> None:
    assert _level(method) in {NO_SIDE_EFFECTS, IDEMPOTENT}


@every_method
def test_what_a_person_changes_is_audited_and_what_is_read_is_not(
    method: MethodDescriptor,
) -> None:
    policy = _policy(method)
    if _level(method) == NO_SIDE_EFFECTS:
        assert not policy.audit_action
    elif policy.permission and method.full_name not in ANNOUNCEMENTS:
        assert policy.audit_action


@every_method
def test_reading_verbs_have_no_side_effects(method: MethodDescriptor) -> None:
    reads = method.name.startswith(("Get", "List", "Watch"))

    assert not reads or _level(method) == NO_SIDE_EFFECTS


@every_method
def test_a_list_is_asked_for_in_pages(method: MethodDescriptor) -> None:
    if not method.name.startswith("List") or method.server_streaming:
        return

    assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
    assert "next_page_token" in method.output_type.fields_by_name


@every_method
def test_a_creation_carries_the_callers_key(method: MethodDescriptor) -> None:
    if not method.name.startswith("Create") or method.full_name in ANNOUNCEMENTS:
        return

    assert "request_id" in method.input_type.fields_by_name


def test_the_rules_of_the_contracts_hold_for_generated_messages() -> None:
    protovalidate.validate(tenant_service_pb2.GetTenantRequest(tenant_id="acme"))

    with pytest.raises(protovalidate.ValidationError) as refused:
        protovalidate.validate(tenant_service_pb2.GetTenantRequest(tenant_id="Not an id"))
    (violation,) = refused.value.violations
    assert violation.proto.rule_id == "string.tenant_id"
    assert violation.proto.message == (
        "must be 3 to 40 lower-case letters, digits and hyphens, the first a letter, "
        "the last no hyphen"
    )


def test_the_form_of_a_text_is_explained_in_words_and_not_as_a_regular_expression() -> None:
    """By text_rules.proto; a bare `pattern` is repeated to whoever breaks it."""
    bare = [
        field.full_name
        for file in _files()
        for message in _messages(file.message_types_by_name.values())
        for field in message.fields
        if "pattern:" in str(field.GetOptions())
    ]
    assert bare == []
