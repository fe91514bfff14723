"""Asking servers whether they serve."""

from __future__ import annotations

import asyncio
import http.client

import grpc
from grpc_health.v1 import health_pb2

from nagaya_local.errors import NotReady

# A caller's proxy is not the way to 127.0.0.1.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)
_SECONDS = 2.0


async def grpc_serving(address: str, name: str) -> None:
    """Return when a gRPC server calls itself SERVING. Raises NotReady."""
    # In a thread and not on grpc.aio, which wants one event loop in a process's whole life.
    await asyncio.to_thread(_ask_grpc, address, name)


async def http_answering(port: int, path: str = "/") -> None:
    """Return when an HTTP server on this machine answers anything at all. Raises NotReady."""
    await asyncio.to_thread(_ask_http, port, path)


def _ask_grpc(address: str, name: str) -> None:
    with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.Call) else "no answer"
            raise NotReady(f"{name} at {address}: {code}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise NotReady(f"{name} at {address} is {status}")


def _ask_http(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"no answer on port {port} ({error})") from error
    finally:
        connection.close()
