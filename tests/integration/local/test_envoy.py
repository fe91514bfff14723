"""Envoy in front of a service, as configured from the contracts."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Protocol

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nagaya_local.envoy.bootstrap import Address, Front, bootstrap
from nagaya_local.envoy.contracts import Method, methods_of
from nagaya_local.envoy.routes import virtual_host
from nagaya_local.errors import NoSignOfLife
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.names import SERVICES
from nagaya_local.parts.envoy import EnvoyServer, packaged_envoy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SERVICE = "/nagaya.runs.v1.RunService"
_GET, _WATCH, _UNSAFE = f"{_SERVICE}/GetRun", f"{_SERVICE}/WatchRun", f"{_SERVICE}/ChargeCard"
_ANSWER = b"well"


class Call(Protocol):
    def __call__(
        self, path: str, said: dict[str, str] | None = None, timeout: float = 20.0
    ) -> bytes: ...


class Backend(grpc.GenericRpcHandler):
    """A server that fails as often as a test says and notes what it was asked."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: grpc.Server | None = None
        self.failures = 0
        self.calls: list[str] = []
        self.headers: dict[str, str] = {}
        self.seconds_left: float | None = None

    def start(self) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        checks = health.HealthServicer()
        checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        server.add_generic_rpc_handlers((self,))
        server.add_insecure_port(f"127.0.0.1:{self._port}")
        server.start()
        self._server = server

    def stop(self) -> None:
        assert self._server is not None
        self._server.stop(None).wait()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        self.calls.append(handler_call_details.method)
        self.headers = {k: str(v) for k, v in handler_call_details.invocation_metadata}
        if handler_call_details.method == _WATCH:
            return grpc.unary_stream_rpc_method_handler(_events)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.seconds_left = context.time_remaining()
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return _ANSWER


def _events(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    while context.is_active():
        yield _ANSWER
        time.sleep(0.05)


@pytest.fixture(scope="module")
def listen() -> Address:
    return Address("127.0.0.1", free_port())


@pytest.fixture(scope="module")
def admin_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def started(
    listen: Address, admin_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """A backend with Envoy in front of it."""
    folder = tmp_path_factory.mktemp("an envoy")
    server = Address("127.0.0.1", free_port())
    unsafe = Method(_UNSAFE, streaming=False, repeatable=False, max_seconds=30)
    front = Front("runs", listen, (server,), (*methods_of("nagaya.runs.v1"), unsafe))
    backend = Backend(server.port)
    backend.start()
    with running_from_sync(EnvoyServer(folder, (front,), admin_port), folder / "envoy.log"):
        yield backend
    backend.stop()


@pytest.fixture
def backend(started: Backend) -> Backend:
    started.failures = 0
    started.calls.clear()
    return started


@pytest.fixture
def call(listen: Address) -> Iterator[Call]:
    """Calls a unary method through Envoy."""
    with grpc.insecure_channel(f"127.0.0.1:{listen.port}") as channel:

        def call(path: str, said: dict[str, str] | None = None, timeout: float = 20.0) -> bytes:
            metadata = tuple((said or {}).items())
            return channel.unary_unary(path)(b"", timeout=timeout, metadata=metadata)

        yield call


def test_a_method_declared_repeatable_is_tried_again(backend: Backend, call: Call) -> None:
    backend.failures = 2

    assert call(_GET) == _ANSWER
    assert backend.calls == [_GET] * 3


def test_a_method_not_declared_so_is_sent_once(backend: Backend, call: Call) -> None:
    backend.failures = 1

    with pytest.raises(grpc.RpcError) as refused:
        call(_UNSAFE)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert backend.calls == [_UNSAFE]


def test_a_read_rides_over_a_restart_of_the_service(backend: Backend, call: Call) -> None:
    backend.stop()
    restart = threading.Timer(0.7, backend.start)
    restart.start()

    assert call(_GET) == _ANSWER
    restart.join()


def test_what_a_caller_says_of_itself_never_arrives(backend: Backend, call: Call) -> None:
    said = {
        "x-forwarded-client-cert": "Subject=admin",
        "x-forwarded-user": "admin",
        "x-nagaya-tenant": "globex",
        "x-user-id": "admin",
        "x-envoy-max-retries": "50",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    call(_GET, said | {"authorization": "Bearer t", "x-request-id": "r1"})

    assert not set(said.values()).intersection(backend.headers.values())
    assert backend.headers["authorization"] == "Bearer t"
    assert backend.headers["x-request-id"] == "r1"


def test_a_caller_cannot_ask_for_retries_of_what_is_not_repeatable(
    backend: Backend, call: Call
) -> None:
    backend.failures = 1

    with pytest.raises(grpc.RpcError):
        call(_UNSAFE, {"x-envoy-retry-grpc-on": "unavailable"})

    assert backend.calls == [_UNSAFE]


def test_the_callers_deadline_reaches_the_service(backend: Backend, call: Call) -> None:
    call(_GET, timeout=5)

    assert backend.seconds_left is not None
    assert 3 < backend.seconds_left <= 5.01  # gRPC rounds it up to 10 ms on the wire


@pytest.mark.usefixtures("backend")
def test_a_method_of_no_contract_is_unimplemented(call: Call) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(f"{_SERVICE}/DropEverything")

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
        watch = channel.unary_stream(_WATCH)(b"", timeout=60)

        assert [next(watch) for _ in range(5)] == [_ANSWER] * 5
        watch.cancel()


@pytest.mark.usefixtures("backend")
async def test_an_envoy_whose_listener_is_silent_hangs_though_its_admin_answers(
    admin_port: int, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:  # as a worker that stands still
        listen = Address(*nobody.getsockname())
        envoy = EnvoyServer(tmp_path, (Front("runs", listen, (listen,), ()),), admin_port)

        with pytest.raises(NoSignOfLife, match=r"its listener at .* does not answer"):
            await envoy.probe()


def test_envoy_accepts_the_configuration_of_all_services(tmp_path: Path) -> None:
    fronts = [
        Front(
            name,
            Address("127.0.0.1", free_port()),
            (Address("127.0.0.1", free_port()),),
            methods_of(f"nagaya.{name.replace('-', '_')}.v1"),
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
