"""Watching a run to its end, across broken connections."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError
from nagaya_client.reconnects import Reconnects

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from nagaya.runs.v1.run_service_pb2_grpc import RunServiceStub

FINAL_STATES = frozenset(
    {run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}
)

# Three heartbeats: a connection that carries nothing for longer is dead.
_IDLE_SECONDS = 32.0


async def watch_run(
    runs: RunServiceStub,
    tenant_id: str,
    run_id: str,
    after: int = 0,
    *,
    reconnect_seconds: float = 60.0,
    on_cut: Callable[[ApiError], None] | None = None,
    on_resumed: Callable[[float], None] | None = None,
) -> AsyncGenerator[run_pb2.RunEvent]:
    """Yield a run's events after the sequence number `after`, in order, up to its final state.

    A stream that breaks is resumed: no event is lost and none comes twice. Raises ApiError when
    the service refuses, or cannot be reached for `reconnect_seconds` on end.

    `on_cut` is called with the reason when a connection breaks, once until the service responds
    again; then `on_resumed` is called with the seconds in between.
    """
    connection = Reconnects(reconnect_seconds, on_cut, on_resumed)
    while True:
        final = False
        try:
            async with aclosing(_responses(runs, tenant_id, run_id, after)) as responses:
                async for response in responses:
                    connection.restored()
                    if response.WhichOneof("part") == "event":
                        after = response.event.sequence
                        yield response.event
                        final = _is_final(response.event)
            # A run that was retried has reached a final state more than once.
            if final or await _is_over(runs, tenant_id, run_id, after):
                return
        except ApiError as error:
            connection.broke(error)
        await connection.pause()


async def _responses(
    runs: RunServiceStub, tenant_id: str, run_id: str, after: int
) -> AsyncGenerator[run_service_pb2.WatchRunResponse]:
    """Yield what one stream sends, its events without gap or duplicate. Raises ApiError."""
    request = run_service_pb2.WatchRunRequest(
        tenant_id=tenant_id, run_id=run_id, after_sequence=after
    )
    stream = runs.WatchRun(request)
    arriving = aiter(stream)
    try:
        while (response := await _next(arriving)) is not None:
            if response.WhichOneof("part") == "event":
                if response.event.sequence <= after:
                    continue
                if response.event.sequence != after + 1:
                    raise ApiError(grpc.StatusCode.UNAVAILABLE, f"event {after + 1} did not come")
                after = response.event.sequence
            yield response
    finally:
        stream.cancel()


async def _next(
    arriving: AsyncIterator[run_service_pb2.WatchRunResponse],
) -> run_service_pb2.WatchRunResponse | None:
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            return await anext(arriving, None)
    except TimeoutError:
        message = f"nothing came for {_IDLE_SECONDS:.0f} s"
        raise ApiError(grpc.StatusCode.UNAVAILABLE, message) from None


def _is_final(event: run_pb2.RunEvent) -> bool:
    return event.WhichOneof("event") == "run" and event.run.state in FINAL_STATES


async def _is_over(runs: RunServiceStub, tenant_id: str, run_id: str, after: int) -> bool:
    """Whether a stream that ended without an error had sent every event."""
    request = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
    run = (await runs.GetRun(request)).run
    return run.state in FINAL_STATES and run.last_sequence <= after
