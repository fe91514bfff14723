from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions
from tests.unit.interceptor.probe import SERVICE, binding, declare, echo, usual

from authentication.testing import verifier_of

if TYPE_CHECKING:
    from servicekit.testing import Keys

from interceptor.server import Server
from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.llm_gateway.v1 import catalog_service_pb2
from nagaya.options.v1 import method_policy_pb2
from servicekit.policy import PolicyMissing, methods_of


def without_policy(options: MethodOptions) -> None:
    options.idempotency_level = MethodOptions.IDEMPOTENT


def without_idempotency(options: MethodOptions) -> None:
    usual(options)
    options.ClearField("idempotency_level")


def for_nobody(options: MethodOptions) -> None:
    usual(options)
    policy = options.Extensions[method_policy_pb2.policy]
    policy.permission = ""
    policy.ClearField("workloads")


def with_tenant_in_no_field(options: MethodOptions) -> None:
    usual(options)
    options.Extensions[method_policy_pb2.policy].tenant_field = "tenant"


def with_tenant_in_a_list(options: MethodOptions) -> None:
    usual(options)
    options.Extensions[method_policy_pb2.policy].tenant_field = "parts"


WRONG = {
    "nagaya.wrong1.v1": (without_policy, "no option (nagaya.options.v1.policy)"),
    "nagaya.wrong2.v1": (without_idempotency, "no option idempotency_level"),
    "nagaya.wrong3.v1": (for_nobody, "neither a permission nor workloads"),
    "nagaya.wrong4.v1": (with_tenant_in_no_field, "no request field tenant"),
    "nagaya.wrong5.v1": (with_tenant_in_a_list, "parts is not one string"),
}


@pytest.mark.parametrize("package", WRONG)
async def test_a_server_does_not_start_with_a_method_whose_contract_is_wrong(
    keys: Keys, package: str
) -> None:
    options, complaint = WRONG[package]
    service = declare(package, Ask=usual, Watch=options)

    with pytest.raises(PolicyMissing) as refused:
        Server(keys.config(), [binding(service=service, Ask=echo)], verifier_of(keys))

    assert f"{service}.Watch" in str(refused.value)
    assert complaint in str(refused.value)


def test_a_policy_is_read_from_the_contract() -> None:
    methods = methods_of(SERVICE)
    ask = methods["Ask"]

    assert (ask.path, ask.domain) == (f"/{SERVICE}/Ask", "probe.nagaya.dev")
    assert (ask.permission, ask.audit_action) == ("probe.use", "probe.use")
    assert (ask.repeatable, ask.streaming, ask.max_seconds) == (True, False, 2)
    assert (methods["Send"].repeatable, methods["Send"].streaming) == (False, True)


def test_grpc_repeats_no_stream_of_requests_by_itself() -> None:
    service = artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"]
    upload = service.methods_by_name["UploadArtifact"]

    assert upload.client_streaming
    assert upload.GetOptions().idempotency_level == MethodOptions.IDEMPOTENT
    assert not methods_of(service.full_name)["UploadArtifact"].repeatable


async def test_a_servicer_of_the_wrong_shape_is_refused_at_start(keys: Keys) -> None:
    with pytest.raises(TypeError, match="Watch is no async generator"):
        Server(keys.config(), [binding(Watch=echo)], verifier_of(keys))


def test_what_belongs_to_no_tenant_is_changed_by_whoever_may_act_for_all() -> None:
    service = catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"]
    catalog = methods_of(service.full_name)

    assert {name for name, method in catalog.items() if method.changes_all} == {
        "SetProvider",
        "SetModel",
        "SetPrice",
        "SetStepDefault",
    }
