"""The end of work whose lock is lost."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from dataplane.pools import Connection


@contextmanager
def ended_with(connection: Connection) -> Generator[None]:
    """End this task when the connection breaks: then its session holds the lock no longer."""
    task = asyncio.current_task()

    def end(_: object) -> None:
        if task is not None:
            task.cancel()

    connection.add_termination_listener(end)
    try:
        yield
    finally:
        connection.remove_termination_listener(end)
