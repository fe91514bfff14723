"""`nagaya limits`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nagaya.runs.v1 import tenant_limit_service_pb2 as pb
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")

LIMITS = pb.TenantLimits(weight=2.5, starts_per_minute=60)
SHARE = pb.TaskQueueShare(
    task_queue="gpu", runs_at_once=12, run_bound=pb.RUN_BOUND_OTHER_TENANTS, other_tenant_count=7
)


def test_limits_are_set_and_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("SetTenantLimits", pb.SetTenantLimitsResponse(limits=LIMITS))
    api.on(
        "GetTenantLimits",
        pb.GetTenantLimitsResponse(limits=LIMITS, now=pb.TenantShare(task_queues=[SHARE])),
    )

    words = ["limits", "set", "--weight", "2.5", "--starts", "60", "-t", "acme"]
    assert run(words) == 0
    assert run(["limits", "get", "-t", "acme"]) == 0
    shown = capsys.readouterr().out
    assert "2.5" in shown
    assert "runs_at_once: 12" in shown
    assert "other_tenants" in shown.lower()
    (sent,) = [call.request for call in api.called("SetTenantLimits")]
    assert (sent.tenant_id, sent.limits) == ("acme", LIMITS)
