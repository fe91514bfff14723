"""What Envoy sends again: only what certainly was not handled."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.integration.local.backends import ANSWER, GET, SEND, UNSAFE, Backend, Call, DyingServer

from nagaya_local.envoy.bootstrap import Address, ProxiedService
from nagaya_local.envoy.contracts import methods_of
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.envoy import EnvoyServer

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 256 << 10


@pytest.mark.parametrize("path", [GET, UNSAFE])
@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
    ],
)
def test_a_refusal_is_an_answer_and_is_not_asked_for_again(
    backend: Backend, call: Call, path: str, code: grpc.StatusCode
) -> None:
    backend.failures, backend.code = 1, code

    with pytest.raises(grpc.RpcError) as refused:
        call(path)

    assert refused.value.code() is code
    assert backend.calls == [path]


def test_many_refusals_do_not_make_a_server_unreachable(backend: Backend, call: Call) -> None:
    backend.failures = 20
    for _ in range(20):
        with pytest.raises(grpc.RpcError, match="not now"):
            call(GET)

    assert call(GET) == ANSWER


def test_a_call_in_which_a_server_died_is_not_sent_to_another(
    tmp_path: Path,
) -> None:
    servers = [DyingServer(tmp_path / f"server-{number}", free_port()) for number in (1, 2)]
    listen = Address("127.0.0.1", free_port())
    addresses = tuple(Address("127.0.0.1", server.port) for server in servers)
    front = ProxiedService("runs", listen, addresses, methods_of("nagaya.runs.v1"))
    envoy = EnvoyServer(tmp_path, (front,), free_port())
    with ExitStack() as started:
        for server in servers:
            started.enter_context(running_from_sync(server, tmp_path / "server.log"))
        started.enter_context(running_from_sync(envoy, tmp_path / "envoy.log"))
        channel = started.enter_context(grpc.insecure_channel(f"127.0.0.1:{listen.port}"))
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(GET)(b"", timeout=20)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert sum(server.calls() for server in servers) == 1


@pytest.mark.parametrize("path", [GET, UNSAFE])
def test_a_call_rides_over_a_restart_of_the_service(
    backend: Backend, call: Call, path: str
) -> None:
    backend.stop()
    restart = threading.Timer(0.7, backend.start)
    restart.start()

    assert call(path) == ANSWER
    restart.join()


def test_a_small_stream_of_requests_rides_over_a_restart_of_the_service(
    backend: Backend, listen: Address
) -> None:
    """Envoy keeps up to 1 MiB of what came before there was a connection."""
    backend.stop()
    restart = threading.Timer(0.7, backend.start)
    restart.start()

    with grpc.insecure_channel(f"127.0.0.1:{listen.port}") as channel:
        size = channel.stream_unary(SEND)(iter([bytes(CHUNK)] * 3), timeout=20)
    restart.join()

    assert size == str(3 * CHUNK).encode()


@pytest.mark.parametrize("path", [GET, UNSAFE])
def test_a_caller_cannot_ask_envoy_to_try_again(backend: Backend, call: Call, path: str) -> None:
    backend.failures = 3
    headers = {
        "x-envoy-retry-grpc-on": "unavailable",
        "x-envoy-retry-on": "5xx,reset,retriable-headers",
        "x-envoy-retriable-header-names": "grpc-status",
        "x-envoy-max-retries": "50",
        "x-envoy-hedge-on-per-try-timeout": "true",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    }

    with pytest.raises(grpc.RpcError):
        call(path, headers)

    assert backend.calls == [path]
