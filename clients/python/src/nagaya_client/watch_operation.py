"""Watching an operation to its end, across broken connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from nagaya.tenant.v1 import operation_pb2, operation_service_pb2
from nagaya_client.errors import ApiError
from nagaya_client.reconnects import Reconnects

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya.tenant.v1.operation_service_pb2_grpc import OperationServiceStub

# Three repetitions: a connection that carries nothing for longer is dead.
_IDLE_SECONDS = 32.0


async def watch_operation(
    stub: OperationServiceStub, operation_id: str, *, reconnect_seconds: float = 60.0
) -> AsyncGenerator[operation_pb2.Operation]:
    """Yield an operation as it is, then whenever it has changed, up to its end.

    A stream that breaks is begun again. Raises ApiError when the service refuses, or cannot be
    reached for `reconnect_seconds` on end.
    """
    request = operation_service_pb2.WatchOperationRequest(operation_id=operation_id)
    connection = Reconnects(reconnect_seconds)
    while True:
        stream = stub.WatchOperation(request)
        responses = aiter(stream)
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    response = await anext(responses, None)
                if response is None:
                    break
                connection.restored()
                yield response.operation
                if response.operation.state != operation_pb2.OPERATION_STATE_RUNNING:
                    return
        except TimeoutError:
            message = f"nothing came for {_IDLE_SECONDS:g} s"
            connection.broke(ApiError(grpc.StatusCode.UNAVAILABLE, message))
        except ApiError as error:
            connection.broke(error)
        finally:
            stream.cancel()
        await connection.pause()
