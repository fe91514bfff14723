"""How much of what one server does at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.concurrency_limit import ConcurrencyLimit
from interceptor.fair_semaphore import FairSemaphore
from interceptor.method import Interceptor
from interceptor.server_call import CallTimeouts
from servicekit import telemetry

if TYPE_CHECKING:
    from interceptor.call_log import CallLog
    from interceptor.callers import Callers

_ARRIVING = 512  # of one caller at once, before their first message
_RECEIVING = 1 << 20  # of all callers: slow ones must not take the permits of others
_RECEIVING_PER_KEY = 8
_RECEIVING_SECONDS = 1.0
_DRAINING = 256
_RUNNING = 32
_RUNNING_PER_KEY = 1  # beside others: each call that computes makes their every step wait longer
_RUNNING_SECONDS = 0.01
_PARSING_LARGE_SECONDS = 1.0
_FIRST_MESSAGE_SECONDS = 10.0
_BLOCKED_WRITE_SECONDS = 60.0


def interceptor_of(
    callers: Callers, log: CallLog, calls_per_tenant: int, streams_per_tenant: int
) -> Interceptor:
    """Make what all methods of one server share, with the limits of every service."""
    return Interceptor(
        callers=callers,
        arriving=ConcurrencyLimit(_ARRIVING),
        unary=ConcurrencyLimit(calls_per_tenant),
        streams=ConcurrencyLimit(streams_per_tenant),
        draining=ConcurrencyLimit(_DRAINING),
        receiving=FairSemaphore(_RECEIVING, _RECEIVING_PER_KEY, _RECEIVING_SECONDS),
        running=FairSemaphore(_RUNNING, _RUNNING_PER_KEY, _RUNNING_SECONDS, all_when_alone=True),
        parsing_large=FairSemaphore(1, 1, _PARSING_LARGE_SECONDS),
        first_message=CallTimeouts(
            _FIRST_MESSAGE_SECONDS, f"no message came for {_FIRST_MESSAGE_SECONDS:g} s"
        ),
        blocked_write=CallTimeouts(
            _BLOCKED_WRITE_SECONDS, f"its answers were not read for {_BLOCKED_WRITE_SECONDS:g} s"
        ),
        log=log,
        tracer=telemetry.tracer(),
    )
