"""Hearing of a run's cancellation while one of its functions is done.

A function may do things that nobody wants any more, so it hears of it within about a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from temporalio import activity
from temporalio.service import RPCError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_BEAT_SECONDS = 0.5
"""Temporal tells of a cancellation in answer to a heartbeat, of which a worker sends one a second
at most."""

_ASK_SECONDS = 1.0
"""Short steps have no heartbeat: Temporal tells of it when their workflow's task is renewed, up to
8 s later. So the worker asks."""


async def hearing_of_cancellation(doing: Coroutine[None, None, T]) -> T:
    """Do something, and stop it when the run is cancelled: then raise CancelledError."""
    if not activity.info().is_local:
        return await _beside(_beat(), doing)
    done = asyncio.create_task(doing)
    asked = asyncio.create_task(_cancelled())
    try:
        await asyncio.wait({done, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            await asyncio.wait({done})
            await asyncio.Event().wait()  # until Temporal tells of it, in its own time
        return done.result()
    finally:
        for task in (done, asked):
            task.cancel()
        await asyncio.gather(done, asked, return_exceptions=True)


async def _beside(always: Coroutine[None, None, None], doing: Coroutine[None, None, T]) -> T:
    beside = asyncio.create_task(always)
    try:
        return await doing
    finally:
        beside.cancel()


async def _beat() -> None:
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        activity.heartbeat()


async def _cancelled() -> None:
    """Wait until the workflow's cancellation has been asked for."""
    info = activity.info()
    if info.workflow_id is None:
        raise RuntimeError("the activity belongs to no workflow")
    workflow = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    while True:
        await asyncio.sleep(_ASK_SECONDS)
        try:
            described = await workflow.describe()
        except RPCError:
            continue  # Temporal is away: it tells later
        if described.raw_description.workflow_extended_info.cancel_requested:
            return
