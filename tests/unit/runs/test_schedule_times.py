"""The times of a schedule where clocks change, as Temporal has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from runs.domain.schedules import Times

BACK = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
"""In Berlin 2 o'clock comes for the first time, at 1:00 in UTC for the second."""

FORWARD = datetime(2027, 3, 28, 0, 0, tzinfo=UTC)
"""In Berlin it is 1 o'clock; at 1:00 in UTC it is 3."""


def berlin(cron: str) -> Times:
    return Times(cron, time_zone="Europe/Berlin")


def after(cron: str, moment: datetime) -> list[tuple[int, int, int]]:
    found = islice(berlin(cron).after(moment), 3)
    return [(time.day, time.hour, time.minute) for time in found]


def test_where_clocks_go_forward_a_local_time_that_does_not_exist_is_left_out() -> None:
    assert after("30 2 * * *", FORWARD) == [(29, 0, 30), (30, 0, 30), (31, 0, 30)]
    assert after("0 2,3 * * *", FORWARD) == [(28, 1, 0), (29, 0, 0), (29, 1, 0)]
    assert after("*/30 * * * *", FORWARD) == [(28, 0, 30), (28, 1, 0), (28, 1, 30)]


def test_where_clocks_go_back_a_fixed_local_time_comes_once_and_never_in_the_past() -> None:
    assert after("30 2 * * *", BACK) == [(25, 0, 30), (26, 1, 30), (27, 1, 30)]
    assert after("30 2 * * *", BACK + timedelta(hours=1)) == [(26, 1, 30), (27, 1, 30), (28, 1, 30)]
    assert after("*/30 2 * * *", BACK) == [(25, 0, 30), (25, 1, 0), (25, 1, 30)]


@pytest.mark.parametrize(
    ("cron", "minutes", "first"),
    [
        ("30 2 * * *", 30, 30),
        ("30 2 * * *", 90, 30),
        ("30 2,3 * * *", 90, 30),
        ("30 3 * * *", 150, 150),
        ("30 * * * *", 90, 90),
        ("*/30 2 * * *", 90, 90),
        ("* * * * *", 91, 91),
    ],
)
def test_the_second_of_two_equal_local_times_stands_for_the_first(
    cron: str, minutes: int, first: int
) -> None:
    time = BACK + timedelta(minutes=minutes)
    assert berlin(cron).first(time) == BACK + timedelta(minutes=first)


def test_times_of_intervals_and_of_utc_stand_for_themselves() -> None:
    time = BACK + timedelta(minutes=90)
    for times in (Times(every_seconds=5_400), Times("30 2 * * *"), Times("0 1 * * *")):
        assert times.first(time) == time
