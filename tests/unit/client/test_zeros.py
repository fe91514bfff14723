"""A number that stands for something else is shown as what it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya.tenant.v1 import server_pb2, server_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api


@pytest.mark.usefixtures("here")
def test_a_limit_that_is_none_is_no_zero(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    limited = server_pb2.Server(server_id="small", max_tenants=3, connection_budget=1000)
    servers = [server_pb2.Server(server_id="main"), limited]
    api.on("ListServers", server_service_pb2.ListServersResponse(servers=servers))
    api.on("GetServer", server_service_pb2.GetServerResponse(server=servers[0]))

    assert run(["server", "list"]) == 0
    _, main, small = capsys.readouterr().out.splitlines()
    assert main.endswith("0        no limit  no limit")
    assert small.endswith("3         1,000")

    assert run(["server", "get", "main"]) == 0
    assert "max_tenants        no limit\n" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_what_is_of_no_element_has_no_number(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [call_pb2.CallKey(step="draft", call=1), call_pb2.CallKey(step="point", item=1, call=1)]
    calls = [call_pb2.Call(key=key) for key in keys]
    api.on("ListCalls", call_service_pb2.ListCallsResponse(calls=calls))

    assert run(["call", "list", "--tenant", "acme", "--no-headers"]) == 0
    draft, point = capsys.readouterr().out.splitlines()
    assert draft.split()[:2] == ["draft", "1"]
    assert point.split()[:3] == ["point", "1", "1"]
