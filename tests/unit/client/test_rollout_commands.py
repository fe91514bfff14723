"""`nagaya rollout` and `nagaya schema drift`: what they ask, print and end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nagaya.tenant.v1 import (
    drift_pb2,
    operation_pb2,
    operation_service_pb2,
    rollout_pb2,
    schema_service_pb2,
)
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")


def rollout(state: rollout_pb2.RolloutState.ValueType, why: str = "") -> rollout_pb2.Rollout:
    return rollout_pb2.Rollout(rollout_id="r1", state=state, pause_reason=why)


def answers(api: Api, ended: rollout_pb2.Rollout) -> None:
    operation = operation_pb2.Operation(
        operation_id="r1", state=operation_pb2.OPERATION_STATE_FAILED
    )
    begun = rollout(rollout_pb2.ROLLOUT_STATE_RUNNING)
    api.on("CreateRollout", schema_service_pb2.CreateRolloutResponse(rollout=begun))
    api.on("ResumeRollout", schema_service_pb2.ResumeRolloutResponse(rollout=begun))
    api.on("GetOperation", operation_service_pb2.GetOperationResponse(operation=operation))
    api.on("GetRollout", schema_service_pb2.GetRolloutResponse(rollout=ended))


def test_a_rollout_that_is_done_ends_with_0(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    answers(api, rollout(rollout_pb2.ROLLOUT_STATE_DONE))
    canaries = ["--canary", "acme", "--canary", "globex"]

    assert run(["rollout", "create", *canaries, "--percent", "100", "--request-id", "k"]) == 0

    assert "done" in capsys.readouterr().out
    (call,) = api.called("CreateRollout")
    assert call.request == schema_service_pb2.CreateRolloutRequest(
        request_id="k", canary_tenant_ids=["acme", "globex"], wave_percents=[100]
    )


def test_one_that_pauses_ends_with_1_and_the_command_that_goes_on(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "1 tenants have failed. After repair ResumeRollout goes on."
    answers(api, rollout(rollout_pb2.ROLLOUT_STATE_PAUSED, why))

    assert run(["rollout", "resume", "r1", "--failure-budget", "0"]) == 1

    assert "nagaya rollout resume r1" in capsys.readouterr().err
    (call,) = api.called("ResumeRollout")
    assert call.request == schema_service_pb2.ResumeRolloutRequest(
        rollout_id="r1", failure_budget=0
    )


@pytest.mark.parametrize(("why", "code"), [("", 0), ("the tenant is suspended", 7)])
def test_no_drift_ends_with_0_unless_a_tenant_was_left_out(api: Api, why: str, code: int) -> None:
    unchecked = drift_pb2.TenantDrift(tenant_id="acme", unchecked_reason=why)
    first = schema_service_pb2.CheckDriftResponse(tenant_count=1)
    one = schema_service_pb2.CheckDriftResponse(tenant_count=1, drift=unchecked)
    api.on("CheckDrift", [first, one])

    assert run(["schema", "drift"]) == code


def test_drift_ends_with_1_and_names_the_object(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    index = drift_pb2.SchemaDifference(
        kind="index",
        name="runs_note",
        difference=drift_pb2.SCHEMA_DIFFERENCE_KIND_MISSING,
        expected="CREATE INDEX runs_note",
    )
    found = drift_pb2.TenantDrift(tenant_id="acme", differences=[index])
    api.on("CheckDrift", [schema_service_pb2.CheckDriftResponse(tenant_count=1, drift=found)])

    assert run(["schema", "drift", "--tenant", "acme"]) == 1

    shown = capsys.readouterr()
    assert "acme    missing     index  runs_note  CREATE INDEX runs_note" in shown.out
    assert "1 of 1 tenants differ" in shown.err
