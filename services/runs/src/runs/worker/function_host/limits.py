"""The limits that a process of functions sets on its own memory and lifetime."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


def limit_memory(memory_bytes: int) -> None:
    """Have the kernel refuse memory beyond a size, by RLIMIT_DATA; macOS does not enforce it."""
    # RLIMIT_DATA counts what a process can write to: heap and private mappings. RLIMIT_AS would
    # count address space too, of which a few threads and a model file take gigabytes.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a customer's data


def exit_with_parent(parent_pid: int) -> None:
    """Have Linux kill this process when the worker dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before
        os._exit(1)


def exit_on_disconnect(connection: int) -> None:
    """Wait until the worker closes the connection, then end this process, whatever it is doing."""
    poll = select.poll()
    poll.register(connection, 0)  # reports only that the other side is closed
    poll.poll()
    os._exit(0)
