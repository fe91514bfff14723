"""A service's process, from its start to its exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import uvloop

from servicekit import telemetry
from servicekit.errors import DomainError, StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_ALLOCATED_BEFORE_COLLECTION = 10_000


def run(name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run a process on uvloop. A start that is refused ends with one sentence and exit code 1."""
    # What the imports have made stays; and calls make many objects, but few that need collecting.
    gc.freeze()
    gc.set_threshold(_ALLOCATED_BEFORE_COLLECTION)
    code = 0
    try:
        uvloop.run(serve())
    except (StartRefused, DomainError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        code = 1
    finally:  # after a defect too: its log lines tell of it
        telemetry.stop()
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process as it is: Temporal's threads abort one interpreter in 25 that cleans up."""
    sys.stdout.flush()
    os._exit(code)
