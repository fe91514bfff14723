"""A service's process, from its start to its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import uvloop

from servicekit.errors import DomainError, StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a process on uvloop. A start that is refused ends with one sentence and exit code 1."""
    try:
        uvloop.run(serve())
    except (StartRefused, DomainError) as error:
        sys.exit(f"{name}: {error}")
