"""The process of one benchmark: it cleans up after Ctrl-C and SIGTERM as it does at its end."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from nagaya_local.errors import LocalError
from servicekit.process import leave

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

INTERRUPTED = 130


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run `main` and exit with the code that it returns; with 130 after a signal."""
    try:
        code = asyncio.run(_until_signal(main))
    except asyncio.CancelledError:
        code = INTERRUPTED
    except LocalError as error:
        sys.stderr.write(f"{error.message}. {error.remedy}\n")
        sys.stderr.writelines(f"  {line}\n" for line in getattr(error, "log_tail", ()))
        code = 1
    leave(code)


async def _until_signal(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task, loop = asyncio.create_task(main()), asyncio.get_running_loop()

    def cancel() -> None:
        if not task.cancelling():  # a second signal does not cut the cleaning short
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel)
    return await task
