"""Watching the text with which a model answers a step, across broken connections."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from nagaya_client.errors import ApiError
from nagaya_client.reconnects import Reconnects

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya.runs.v1 import run_pb2, run_service_pb2
    from nagaya.runs.v1.run_service_pb2_grpc import RunServiceStub

# Three heartbeats: a connection that carries nothing for longer is dead.
_IDLE_SECONDS = 32.0


async def watch_step_text(
    runs: RunServiceStub, request: run_service_pb2.WatchStepTextRequest, reconnect_seconds: float
) -> AsyncGenerator[run_pb2.StepText | run_pb2.RunStep]:
    """Yield a step's text piece by piece, and at last the step, done.

    A stream that breaks is resumed where it was: no piece is lost and none comes twice. The
    request moves on with the text. Raises ApiError when the service refuses, or cannot be reached
    for `reconnect_seconds` on end.
    """
    connection = Reconnects(reconnect_seconds)
    while True:
        try:
            async with aclosing(_responses(runs, request)) as responses:
                async for response in responses:
                    connection.restored()
                    match response.WhichOneof("part"):
                        case "text":
                            text = response.text
                            request.attempt = text.attempt
                            request.offset = text.offset + len(text.text)
                            yield text
                        case "step":
                            yield response.step
                            return
                        case _:  # a heartbeat
                            pass
            raise ApiError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the step")
        except ApiError as error:
            connection.broke(error)
        await connection.pause()


async def _responses(
    runs: RunServiceStub, request: run_service_pb2.WatchStepTextRequest
) -> AsyncGenerator[run_service_pb2.WatchStepTextResponse]:
    stream = runs.WatchStepText(request)
    arriving = aiter(stream)
    try:
        while True:
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    response = await anext(arriving, None)
            except TimeoutError:
                message = f"nothing came for {_IDLE_SECONDS:.0f} s"
                raise ApiError(grpc.StatusCode.UNAVAILABLE, message) from None
            if response is None:
                return
            yield response
    finally:
        stream.cancel()
