"""`python -m runs.worker.function_host MEMORY_BYTES PARENT`: a process of functions.

The worker starts it. Its standard input is the connection to the worker.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import socket
import sys
import threading
import traceback
from functools import partial

from runs.worker.function_host.child import serve
from runs.worker.function_host.limits import bound_memory, die_with, end_with


def main(memory_bytes: int, parent: int) -> None:
    """Serve calls until the worker closes the connection, or is gone."""
    bound_memory(memory_bytes)
    die_with(parent)
    faulthandler.enable()  # where a crash happened goes to standard error, which the worker keeps
    worker = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what a function reads there is not ours
    os.close(nothing)
    os.register_at_fork(after_in_child=partial(_let_go, worker.fileno()))
    threading.Thread(target=end_with, args=(worker.fileno(),), daemon=True).start()
    try:
        # Not asyncio.run: it would cancel the other calls when a function's task leaves.
        asyncio.new_event_loop().run_until_complete(serve(worker))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _let_go(connection: int) -> None:
    """Take the connection from a fork of a function: it would read and answer calls of others.

    It would also hold it open after this process has died, so the worker would wait on.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, connection, inheritable=False)
    os.close(nothing)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
