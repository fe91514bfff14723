"""`python -m runs.worker.function_host MEMORY_BYTES PARENT_PID`: a process that calls functions.

A worker starts it. Its standard input is a socket that is connected to the worker.
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
from runs.worker.function_host.limits import (
    exit_on_disconnect,
    exit_with_parent,
    limit_memory,
)


def main(memory_bytes: int, parent_pid: int) -> None:
    """Serve calls until the worker closes the connection or ends."""
    limit_memory(memory_bytes)
    exit_with_parent(parent_pid)
    faulthandler.enable()  # the place of a crash goes to standard error, which the worker keeps
    worker = socket.socket(fileno=os.dup(0))
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)  # functions must not read the worker's frames from standard input
    os.close(devnull)
    os.register_at_fork(after_in_child=partial(_disconnect_fork, worker.fileno()))
    threading.Thread(target=exit_on_disconnect, args=(worker.fileno(),), daemon=True).start()
    try:
        # Not asyncio.run: it would cancel the other calls when a function's task raises SystemExit.
        asyncio.new_event_loop().run_until_complete(serve(worker))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _disconnect_fork(connection: int) -> None:
    """Take the connection from a fork of a function: it would read and answer calls of others.

    It would also hold the connection open after this process has died, so the worker would wait.
    """
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, connection, inheritable=False)
    os.close(devnull)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
