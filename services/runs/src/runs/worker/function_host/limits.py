"""What bounds the life and the memory of a process of functions. It sets them for itself."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bound_memory(memory_bytes: int) -> None:
    """Have the kernel refuse more memory than this."""
    # RLIMIT_DATA counts what a process really may write to: heap and private mappings. RLIMIT_AS
    # would count address space too, of which a few threads and a model file take gigabytes.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold a customer's data


def die_with(parent: int) -> None:
    """Have the kernel end this process with the worker, however that dies and whatever we do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os._exit(1)


def end_with(connection: int) -> None:
    """Wait until the worker closes the connection; then end this process, whatever it does."""
    poll = select.poll()
    poll.register(connection, 0)  # tells of nothing but that the other side is closed
    poll.poll()
    os._exit(0)
