"""The process of a service: event loop, garbage collection, exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import uvloop

from servicekit import telemetry
from servicekit.errors import DomainError, StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_ALLOCATED_BEFORE_COLLECTION = 50_000
_STARTED_SECONDS = 10.0


def run(name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run `serve` on uvloop, then exit: with 1 and one sentence for StartRefused or DomainError."""
    # The objects of the imports stay; calls allocate many objects, and few form cycles.
    gc.freeze()
    gc.set_threshold(_ALLOCATED_BEFORE_COLLECTION)
    why: Exception | None = None
    try:
        uvloop.run(_serve(serve))
    except (StartRefused, DomainError) as error:
        why = error
    finally:  # after a defect too, for its log lines
        telemetry.stop()
    if why is not None:  # after the log lines, where it is looked for
        sys.stderr.write(f"{name}: {why}\n")
    leave(0 if why is None else 1)


async def _serve(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.get_running_loop().call_later(_STARTED_SECONDS, _freeze)
    await serve()


def _freeze() -> None:
    """Spare collections what was made since the start: it stays too."""
    gc.collect()
    gc.freeze()


def leave(code: int) -> NoReturn:
    """Exit without cleaning up: Temporal's threads abort one interpreter in 25 that does."""
    sys.stdout.flush()
    os._exit(code)
