"""Probes of readiness: gRPC health, HTTP, an event loop that runs."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import time
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from nagaya_local.errors import NotReady, Unresponsive
from tls.credentials import open_channel

if TYPE_CHECKING:
    from tls.address import ServerAddress

# A caller's proxy is not the way to 127.0.0.1.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)
_SECONDS = 5.0
_UNKNOWN_METHOD = "/nagaya.Nothing/Ask"
_TICKS = re.compile(r"^event_loop_lag_seconds_count (\S+)$", re.MULTILINE)
_TICK_SECONDS = 2.0  # four of them


async def probe_grpc_health(address: ServerAddress, name: str) -> None:
    """Return when a gRPC server calls itself SERVING. Raises NotReady, and Unresponsive."""
    # In a thread and not on grpc.aio, which wants one event loop in a process's whole life.
    await asyncio.to_thread(_probe_grpc_health, address, name)


async def probe_grpc_server(address: ServerAddress, name: str) -> None:
    """Return when a gRPC server responds at all, such as that it has no such method.

    Raises Unresponsive.
    """
    await asyncio.to_thread(_probe_grpc_server, address, name)


async def probe_http(port: int, path: str = "/") -> None:
    """Return when an HTTP server on this machine answers anything at all.

    Raises NotReady, and Unresponsive.
    """
    await asyncio.to_thread(_get, port, path)


class EventLoopProbe:
    """Probe of a process that serves nothing but its metrics.

    A thread of its own serves these, also while the event loop stands still; so the loop must
    have measured its lag again since the last probe.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._ticks = ""
        self._since = time.monotonic()

    async def __call__(self) -> None:
        """Return when the loop is measured and goes on. Raises NotReady, and Unresponsive."""
        found = _TICKS.search(await asyncio.to_thread(_get, self._port, "/metrics"))
        ticks = found[1] if found else ""
        if not float(ticks or 0):
            raise NotReady("it waits for Temporal, or to hear of the tenants")
        now = time.monotonic()
        if ticks != self._ticks:
            self._ticks, self._since = ticks, now
        elif now - self._since > _TICK_SECONDS:
            raise Unresponsive(f"its event loop has stood still for {now - self._since:.0f} s")


def transport_error(error: grpc.RpcError) -> str:
    """Return why gRPC got no response from a server; empty when the server itself refused."""
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "timed out"
    if code is not grpc.StatusCode.UNAVAILABLE:
        return ""
    # Such as: failed to connect to all addresses; … connect: Connection refused (111)
    return str(error.details()).rpartition(": ")[2].rstrip("]")


def require_listener(address: ServerAddress, name: str) -> None:
    """Connect to a server by TCP alone, a fraction of a gRPC call's cost. Raises Unresponsive."""
    try:
        socket.create_connection((address.host, address.port), _SECONDS).close()
    except OSError as error:
        reason = error.strerror or "timed out"
        raise Unresponsive(f"{name} at {address} does not answer ({reason})") from error


def _probe_grpc_health(address: ServerAddress, name: str) -> None:
    require_listener(address, name)
    with open_channel(address, CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            if reason := transport_error(error):
                raise Unresponsive(f"{name} at {address} does not answer ({reason})") from error
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            raise NotReady(f"{name} at {address}: {details}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise NotReady(f"{name} at {address} is {status}")


def _probe_grpc_server(address: ServerAddress, name: str) -> None:
    require_listener(address, name)
    with open_channel(address, CHANNEL_OPTIONS) as channel:
        try:
            channel.unary_unary(_UNKNOWN_METHOD)(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            if reason := transport_error(error):
                raise Unresponsive(f"{name} at {address} does not answer ({reason})") from error


def _get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode(errors="replace")
    except OSError as error:
        raise Unresponsive(f"no answer on port {port} ({error})") from error
    except http.client.HTTPException as error:
        raise NotReady(f"port {port} speaks no HTTP ({error!r})") from error
    finally:
        connection.close()
