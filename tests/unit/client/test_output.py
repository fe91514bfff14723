"""Answers in every format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from nagaya.llm_gateway.v1 import catalog_service_pb2
from nagaya.runs.v1 import prompt_pb2, prompt_service_pb2, run_pb2, run_service_pb2
from nagaya.tenant.v1 import server_pb2, server_service_pb2, tenant_pb2, tenant_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api, RecordedCall

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
TENANTS = tenant_service_pb2.ListTenantsResponse(
    tenants=[
        tenant_pb2.Tenant(
            tenant_id="acme",
            name="Acme",
            state=tenant_pb2.TENANT_STATE_ACTIVE,
            database="t_01",
            generation=3,
        ),
        tenant_pb2.Tenant(
            tenant_id="machiya",
            name="町家の宿",
            state=tenant_pb2.TENANT_STATE_SUSPENDED,
            database="t_02",
        ),
    ]
)

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def listing(api: Api) -> Api:
    api.on("ListTenants", TENANTS)
    return api


@pytest.mark.usefixtures("listing")
def test_a_table_keeps_its_columns_below_each_other_in_japanese_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["tenant", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "TENANT   NAME      STATE      DATABASE  SERVER  CREATED",
        "acme     Acme      active     t_01",
        "machiya  町家の宿  suspended  t_02",
    ]


@pytest.mark.usefixtures("listing")
def test_a_table_without_headers_has_rows_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "--no-headers"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["acme", "machiya"]


@pytest.mark.usefixtures("listing")
def test_json_is_the_protobuf_json_of_the_response(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "-o", "json"]) == 0
    printed = capsys.readouterr().out
    assert json_format.Parse(printed, tenant_service_pb2.ListTenantsResponse()) == TENANTS
    # camelCase, 64-bit numbers as strings, defaults left out, letters as they are
    assert json.loads(printed)["tenants"][0] == {
        "tenantId": "acme",
        "name": "Acme",
        "state": "TENANT_STATE_ACTIVE",
        "database": "t_01",
        "generation": "3",
    }
    assert "町家の宿" in printed


@pytest.mark.usefixtures("listing")
def test_json_lines_are_one_item_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "-o", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    items = [json_format.Parse(line, tenant_pb2.Tenant()) for line in lines]
    assert items == list(TENANTS.tenants)


@pytest.mark.usefixtures("listing")
def test_ids_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "-o", "id"]) == 0
    assert capsys.readouterr().out.splitlines() == [one.tenant_id for one in TENANTS.tenants]


@pytest.mark.usefixtures("listing")
def test_yaml_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenant", "list", "-o", "yaml"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == json_format.MessageToDict(TENANTS)
    assert printed.startswith("tenants:\n- tenantId: acme\n")


def test_a_single_thing_is_shown_field_by_field_with_its_text_last(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    version = prompt_pb2.PromptVersion(
        step="outline",
        version=2,
        content="Outline {{topic}}.\nBe brief.",
        variables=["topic"],
        active=True,
    )
    response = prompt_service_pb2.GetPromptVersionResponse(prompt_version=version)
    api.on("GetPromptVersion", response)

    assert run(["prompt", "get", "outline", "2", "--tenant", "acme"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "step       outline",
        "version    2",
        "variables  topic",
        "active     yes",
        "",
        "content:",
        "  Outline {{topic}}.",
        "  Be brief.",
    ]


def test_costs_times_and_states_are_for_people(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    step = run_pb2.RunStep(
        step="draft",
        item=2,
        visit=1,
        state=run_pb2.STEP_STATE_COMPLETED,
        llm_model="claude/claude-sonnet-5-5",
        model_rule="STEP_DEFAULT",
        input_tokens=1200,
        output_tokens=345,
        cost_micro_usd=31_250,
        start_time=Timestamp(seconds=1_700_000_000),
        end_time=Timestamp(seconds=1_700_000_002, nanos=500_000_000),
        output=run_pb2.ArtifactRef(summary="5,213 characters, 12 headings"),
    )
    api.on("ListRunSteps", run_service_pb2.ListRunStepsResponse(run_steps=[step]))

    assert run(["run", "steps", RUN_ID, "-t", "acme", "--no-headers"]) == 0
    assert capsys.readouterr().out.split("  ") == [
        "draft", "2", "1", "completed", "0", "no", "claude/claude-sonnet-5-5", "step_default",
        "1,545", "$0.0312", "2.5", "5,213 characters, 12 headings\n",
    ]  # fmt: skip


def test_a_port_is_written_as_in_an_address(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    server = server_pb2.Server(server_id="main", host="db.example", port=5432)
    api.on("ListServers", server_service_pb2.ListServersResponse(servers=[server]))

    assert run(["server", "list", "--no-headers"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["main", "db.example", "5432"]


def test_an_empty_list_says_so_on_stderr_only(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("ListRuns", run_service_pb2.ListRunsResponse())

    assert run(["run", "list", "--tenant", "acme"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "nothing found\n")


def test_a_response_without_fields_is_empty_json(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("DeleteTenantStepOverride", catalog_service_pb2.DeleteTenantStepOverrideResponse())

    assert run(["model", "delete-override", "draft", "-t", "acme", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}


def test_a_list_goes_over_pages_up_to_its_limit(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    def page(call: RecordedCall) -> run_service_pb2.ListRunsResponse:
        begin = int(call.request.page_token or 0)
        end = min(begin + call.request.page_size, 450)
        return run_service_pb2.ListRunsResponse(
            runs=[run_pb2.Run(run_id=f"run-{n}") for n in range(begin, end)],
            next_page_token=str(end) if end < 450 else "",
        )

    api.on("ListRuns", page)

    assert run(["run", "list", "-t", "acme", "--limit", "300", "-o", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["runId"] for line in lines] == [f"run-{n}" for n in range(300)]
    assert [call.request.page_size for call in api.calls] == [200, 100]

    assert run(["run", "list", "-t", "acme", "--limit", "300", "--no-headers"]) == 0
    assert "there are more than 300: --limit shows them" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["environment", "option"])
def test_the_tenant_comes_from_the_environment_or_the_option(
    api: Api, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.on("ListRuns", run_service_pb2.ListRunsResponse())
    monkeypatch.setenv("NAGAYA_TENANT", "globex")

    assert run(["run", "list", *(["--tenant", "acme"] if given == "option" else [])]) == 0
    assert api.calls[0].request.tenant_id == ("acme" if given == "option" else "globex")
