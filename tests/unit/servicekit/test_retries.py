"""Retries end when they succeed, when their time is up, or with an error that will not pass."""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING

import pytest

from servicekit import retries
from servicekit.errors import Conflict, DatabaseUnavailable, TooManyCalls, Unavailable
from servicekit.retries import Backoff, RetryLog, retry, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUICK = Backoff(0.001, 0.002)
_log = logging.getLogger("probe")


def log() -> RetryLog:
    return RetryLog(_log, "probe.unavailable", "it is away", where="here")


def failing(*errors: Exception) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """Return an action that raises these errors in turn, then succeeds; and when it was called."""
    left, called = list(errors), list[float]()

    async def action() -> str:
        called.append(time.monotonic())
        if left:
            raise left.pop(0)
        return "done"

    return action, called


async def test_what_fails_for_a_moment_is_tried_again_until_it_succeeds() -> None:
    action, called = failing(*(DatabaseUnavailable("away") for _ in range(5)))

    assert await retry(action, Unavailable, log(), backoff=QUICK) == "done"
    assert len(called) == 6


async def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    action, called = failing(DatabaseUnavailable("away"), Conflict("changed"))

    with pytest.raises(Conflict):
        await retry(action, (Unavailable, OSError), log(), backoff=QUICK)
    assert len(called) == 2


async def test_a_function_may_decide_which_errors_pass() -> None:
    action, called = failing(Conflict("changed"), Conflict("gone"))

    with pytest.raises(Conflict, match="gone"):
        await retry(action, lambda error: "changed" in str(error), log(), backoff=QUICK)
    assert len(called) == 2


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_no_attempt_begins_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, called = Clock(), list[float]()
    monkeypatch.setattr(retries, "time", clock)
    monkeypatch.setattr(retries, "asyncio", clock)

    async def action() -> None:
        called.append(clock.now)
        raise ConnectionError(str(len(called)))

    with pytest.raises(ConnectionError) as raised:
        await retry(action, OSError, log(), backoff=Backoff(0.02, 0.02), timeout_seconds=0.2)
    assert called[-1] <= 0.2
    assert 11 <= len(called) <= 21
    assert str(raised.value) == str(len(called))


async def test_a_delay_is_as_long_as_the_error_asks_for() -> None:
    action, called = failing(TooManyCalls("busy", retry_after_ms="150"))

    await retry(action, TooManyCalls, log(), backoff=QUICK)
    assert called[1] - called[0] >= 0.15


def test_an_error_without_a_time_asks_for_none() -> None:
    assert retry_after_seconds(TooManyCalls("busy", retry_after_ms="1500")) == 1.5
    assert retry_after_seconds(TooManyCalls("busy", retry_after_ms="soon")) == 0
    assert retry_after_seconds(OSError("busy")) == 0


def test_delays_double_up_to_the_longest_and_are_scattered_below() -> None:
    delays = list(itertools.islice(Backoff(0.1, 5.0).delays(), 50))
    most = [min(0.1 * 2**number, 5.0) for number in range(50)]

    assert all(top / 2 <= delay <= top for delay, top in zip(delays, most, strict=True))
    assert len(set(delays[10:])) > 30


def test_an_outage_is_logged_once_a_minute_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    outage = log()

    for _ in range(130):
        outage.failed(DatabaseUnavailable("nobody answers"))
        now += 1
    outage.succeeded()
    outage.succeeded()
    outage.failed(OSError("a secret"))

    fields = [vars(record) for record in caplog.records]
    assert [(record.getMessage(), vars(record)["seconds"]) for record in caplog.records] == [
        ("it is away", 0.0),
        ("it is away", 60.0),
        ("it is away", 120.0),
        ("recovered: it is away", 130.0),
        ("it is away", 0.0),
    ]
    assert [each["event"] for each in fields] == [
        *["probe.unavailable"] * 3,
        "probe.recovered",
        "probe.unavailable",
    ]
    assert {each["where"] for each in fields} == {"here"}
    assert (fields[0]["reason"], fields[0]["why"]) == (
        "ERROR_REASON_DATABASE_UNAVAILABLE",
        "nobody answers",
    )
    assert fields[-1]["reason"] == "OSError"
    assert "secret" not in str(fields[-1])
