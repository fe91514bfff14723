"""The shell completes names of tenants, pipelines, runs and so on, if Nagaya can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from click.shell_completion import ShellComplete
from tests.unit.client.api import Refusal

from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2
from nagaya_client.cli.main import nagaya

if TYPE_CHECKING:
    from tests.unit.client.api import Api


def completed(*words: str) -> list[str]:
    """What the shell offers for the last word."""
    shell = ShellComplete(nagaya, {}, "nagaya", "_NAGAYA_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.usefixtures("here")
def test_tenants_are_completed(api: Api) -> None:
    tenants = [tenant_pb2.Tenant(tenant_id=name) for name in ("acme", "acorn", "globex")]
    api.on("ListTenants", tenant_service_pb2.ListTenantsResponse(tenants=tenants))

    assert completed("run", "list", "--tenant", "ac") == ["acme", "acorn"]
    assert completed("tenant", "suspend", "g") == ["globex"]


@pytest.mark.usefixtures("here")
def test_pipelines_are_completed_once_however_many_versions_they_have(api: Api) -> None:
    versions = [pipeline_pb2.PipelineVersion(pipeline=name) for name in ("b", "article", "article")]
    answer = pipeline_service_pb2.ListPipelineVersionsResponse(pipeline_versions=versions)
    api.on("ListPipelineVersions", answer)

    assert completed("run", "start", "--tenant", "acme", "a") == ["article"]
    assert api.calls[0].request.tenant_id == "acme"


@pytest.mark.usefixtures("here")
def test_runs_and_the_steps_of_a_run_are_completed(api: Api) -> None:
    runs = [run_pb2.Run(run_id=name) for name in ("a1", "a2", "b1")]
    api.on("ListRuns", run_service_pb2.ListRunsResponse(runs=runs))
    steps = [run_pb2.RunStep(step=name) for name in ("draft", "review", "draft")]
    api.on("ListRunSteps", run_service_pb2.ListRunStepsResponse(run_steps=steps))

    assert completed("run", "pause", "--tenant", "acme", "a") == ["a1", "a2"]
    assert completed("run", "retry", "--tenant", "acme", "a1", "--step", "d") == ["draft"]
    assert api.calls[-1].request.run_id == "a1"


@pytest.mark.usefixtures("here")
def test_a_refusal_completes_nothing(api: Api) -> None:
    api.on("ListTenants", Refusal(grpc.StatusCode.UNAUTHENTICATED, "no token"))

    assert completed("run", "list", "--tenant", "a") == []


@pytest.mark.usefixtures("elsewhere")
def test_without_any_nagaya_nothing_is_completed() -> None:
    assert completed("run", "list", "--tenant", "a") == []
