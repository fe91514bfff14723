"""Servers behind Envoy that fail as tests say, and note what they were asked."""

from __future__ import annotations

import sys
import time
from concurrent import futures
from typing import TYPE_CHECKING, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import probe_grpc_health
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "/nagaya.runs.v1.RunService"
GET, WATCH, UNSAFE = f"{SERVICE}/GetRun", f"{SERVICE}/WatchRun", f"{SERVICE}/ChargeCard"
SEND = f"{SERVICE}/SendAll"
ANSWER = b"well"


class Call(Protocol):
    def __call__(
        self, path: str, metadata: dict[str, str] | None = None, timeout: float = 20.0
    ) -> bytes: ...


class Backend(grpc.GenericRpcHandler):
    """A server that fails as often as a test says and notes what it was asked."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: grpc.Server | None = None
        self.failures = 0
        self.code = grpc.StatusCode.UNAVAILABLE
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
        if handler_call_details.method == WATCH:
            return grpc.unary_stream_rpc_method_handler(_events)
        if handler_call_details.method == SEND:
            return grpc.stream_unary_rpc_method_handler(_size)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.seconds_left = context.time_remaining()
        if self.failures:
            self.failures -= 1
            context.abort(self.code, "not now")
        return ANSWER


class DyingServer:
    """A server in a process of its own, which dies of the first call that it is sent."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port

    @property
    def stopping(self) -> Stopping:
        return Stopping()

    async def prepare(self) -> None:
        self._folder.mkdir()

    def command(self) -> Command:
        return Command((sys.executable, "-c", _DYING, str(self.port)), self._folder)

    async def probe(self) -> None:
        await probe_grpc_health(ServerAddress("127.0.0.1", self.port), "it")

    def calls(self) -> int:
        """How many calls it was sent."""
        file = self._folder / "calls"
        return len(file.read_text().splitlines()) if file.exists() else 0


_DYING = """
import os, sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

class Dying(grpc.GenericRpcHandler):
    def service(self, call):
        with open("calls", "a") as file:
            file.write(call.method + "\\n")
        os._exit(1)

server = grpc.server(futures.ThreadPoolExecutor(4))
checks = health.HealthServicer()
checks.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(checks, server)
server.add_generic_rpc_handlers((Dying(),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"""


def _size(requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
    return str(sum(len(request) for request in requests)).encode()


def _events(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    while context.is_active():
        yield ANSWER
        time.sleep(0.05)
