"""Cancels a function within about a second after its run was cancelled.

A model call is cancelled by the heartbeats of `error_interceptor`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from temporalio import activity
from temporalio.service import RPCError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_HEARTBEAT_SECONDS = 0.5
"""Temporal reports a cancellation in its response to a heartbeat; a worker sends one a second at
most."""

_POLL_SECONDS = 1.0
"""Short steps have no heartbeat: Temporal reports it when their workflow's task is renewed, up to
8 s later. So the worker polls."""


async def run_until_cancelled(doing: Coroutine[None, None, T]) -> T:
    """Await `doing`, and cancel it when the run is cancelled: then raise CancelledError."""
    if not activity.info().is_local:
        return await _with_background(_heartbeat_forever(), doing)
    done = asyncio.create_task(doing)
    cancelled = asyncio.create_task(wait_for_cancellation())
    try:
        await asyncio.wait({done, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            await asyncio.wait({done})
            await asyncio.Event().wait()  # until Temporal cancels the activity
        return done.result()
    finally:
        for task in (done, cancelled):
            task.cancel()
        await asyncio.gather(done, cancelled, return_exceptions=True)


async def _with_background(
    background: Coroutine[None, None, None], doing: Coroutine[None, None, T]
) -> T:
    task = asyncio.create_task(background)
    try:
        return await doing
    finally:
        task.cancel()


async def _heartbeat_forever() -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        activity.heartbeat()


async def wait_for_cancellation() -> None:
    """Wait until the workflow's cancellation has been asked for."""
    info = activity.info()
    if info.workflow_id is None:
        raise RuntimeError("the activity belongs to no workflow")
    workflow = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        try:
            described = await workflow.describe()
        except RPCError:
            continue  # Temporal is away
        if described.raw_description.workflow_extended_info.cancel_requested:
            return
