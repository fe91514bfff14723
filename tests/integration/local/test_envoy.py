"""Envoy in front of a service, as configured from the contracts."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.integration.local.backends import ANSWER, GET, SERVICE, WATCH, Backend, Call

from nagaya_local.envoy.bootstrap import Address, ProxiedService, bootstrap
from nagaya_local.envoy.contracts import methods_of
from nagaya_local.envoy.routes import virtual_host
from nagaya_local.errors import Unresponsive
from nagaya_local.machine.ports import free_port
from nagaya_local.names import SERVICES
from nagaya_local.origins import LOOPBACK
from nagaya_local.parts.envoy import EnvoyServer
from nagaya_local.parts.wheels import packaged_envoy

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_caller_says_of_itself_never_arrives(backend: Backend, call: Call) -> None:
    headers = {
        "x-forwarded-client-cert": "Subject=admin",
        "x-forwarded-user": "admin",
        "x-nagaya-tenant": "globex",
        "x-user-id": "admin",
        "x-envoy-max-retries": "50",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    call(GET, headers | {"authorization": "Bearer t", "x-request-id": "r1"})

    assert not set(headers.values()).intersection(backend.headers.values())
    assert backend.headers["authorization"] == "Bearer t"
    assert backend.headers["x-request-id"] == "r1"


def test_the_callers_deadline_reaches_the_service(backend: Backend, call: Call) -> None:
    call(GET, timeout=5)

    assert backend.seconds_left is not None
    assert 3 < backend.seconds_left <= 5.01  # gRPC rounds it up to 10 ms on the wire


@pytest.mark.usefixtures("backend")
def test_a_method_of_no_contract_is_unimplemented(call: Call) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(f"{SERVICE}/DropEverything")

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_no_route_has_a_timeout_of_its_own_and_every_one_the_limit_of_its_policy() -> None:
    methods = {method.path: method for method in methods_of("nagaya.runs.v1")}
    routes = virtual_host("runs", tuple(methods.values()))["routes"]

    assert {route["route"]["timeout"] for route in routes} == {"0s"}
    limits = {
        route["match"]["path"]: route["route"]["max_stream_duration"]["grpc_timeout_header_max"]
        for route in routes
        if "path" in route["match"]
    }
    assert limits == {path: f"{method.max_seconds}s" for path, method in methods.items()}


@pytest.mark.usefixtures("backend")
def test_an_open_stream_is_fed_until_the_caller_leaves(listen: Address) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{listen.port}") as channel:
        watch = channel.unary_stream(WATCH)(b"", timeout=60)

        assert [next(watch) for _ in range(5)] == [ANSWER] * 5
        watch.cancel()


@pytest.mark.usefixtures("backend")
async def test_an_envoy_whose_listener_is_silent_hangs_though_its_admin_answers(
    admin_port: int, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:  # as a worker that stands still
        listen = Address(*nobody.getsockname())
        envoy = EnvoyServer(tmp_path, (ProxiedService("runs", listen, (listen,), ()),), admin_port)

        with pytest.raises(Unresponsive, match=r"its listener at .* does not answer"):
            await envoy.probe()


@pytest.mark.parametrize("web_origins", [(), LOOPBACK], ids=["without pages", "with pages"])
def test_envoy_accepts_the_configuration_of_all_services(
    tmp_path: Path, web_origins: tuple[str, ...]
) -> None:
    fronts = [
        ProxiedService(
            name,
            Address("127.0.0.1", free_port()),
            (Address("127.0.0.1", free_port()),),
            methods_of(f"nagaya.{name.replace('-', '_')}.v1"),
            web_origins,
        )
        for name in SERVICES
    ]
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap(fronts, Address("127.0.0.1", free_port()))))

    checked = subprocess.run(
        [str(packaged_envoy()), "--mode", "validate", "--config-path", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "warning" not in checked.stderr
