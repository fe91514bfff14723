from __future__ import annotations

import pytest

from runs.api.relay import backlog
from runs.api.relay.backlog import BacklogMetrics
from runs.store.open_runs import Backlog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backlog, "time", clock)
    return clock


def found(pending: int = 0, oldest: float = 0.0) -> Backlog:
    runs = {"pending": pending, "running": 1, "paused": 0}
    return Backlog(runs, 0, pending, oldest)


def saw(metrics: BacklogMetrics, tenant_id: str, backlog: Backlog, due: float | None) -> None:
    """Have a visit count what is left."""
    metrics.counted(tenant_id, backlog)
    metrics.visited(tenant_id, due)


def open_runs(metrics: BacklogMetrics) -> dict[str, float]:
    sums: dict[str, float] = {}
    for (status,), count in metrics._runs():
        sums[status] = sums.get(status, 0.0) + count
    return sums


def test_the_runs_of_all_tenants_are_added_up_and_each_visit_replaces_the_last(
    clock: Clock,
) -> None:
    metrics = BacklogMetrics()
    saw(metrics, "acme", found(pending=5), 15.0)
    saw(metrics, "acme", found(pending=2), 15.0)
    saw(metrics, "other", found(pending=1), 15.0)

    assert open_runs(metrics) == {"pending": 3, "running": 2, "paused": 0}


def test_a_tenant_that_another_process_visits_now_is_not_counted_any_more(clock: Clock) -> None:
    metrics = BacklogMetrics()
    saw(metrics, "acme", found(pending=5), 15.0)
    saw(metrics, "done", found(pending=5), 15.0)
    saw(metrics, "done", found(), None)
    before = open_runs(metrics)
    clock.now += 30

    assert before["pending"] == 5
    assert open_runs(metrics) == {"pending": 0, "running": 0, "paused": 0}


def test_the_oldest_message_grows_older_between_visits(clock: Clock) -> None:
    metrics = BacklogMetrics()
    saw(metrics, "acme", found(oldest=40.0), 5.0)
    saw(metrics, "other", found(oldest=0.0), 5.0)
    clock.now += 6

    assert metrics.outbox_age() == 46


def test_a_tenant_that_is_visited_each_second_is_counted_now_and_then(clock: Clock) -> None:
    metrics = BacklogMetrics()
    assert metrics.is_due("acme")
    counted: list[float] = []
    for _ in range(25):
        if metrics.is_due("acme"):
            metrics.counted("acme", found(pending=5))
            counted.append(clock.now)
        metrics.visited("acme", 0.5)
        clock.now += 1

    assert counted == [1000, 1010, 1020]
    assert open_runs(metrics)["pending"] == 5
    metrics.visited("acme", None)
    assert open_runs(metrics)["pending"] == 0


def test_after_an_outage_it_is_counted_at_once(clock: Clock) -> None:
    metrics = BacklogMetrics()
    saw(metrics, "acme", found(oldest=40.0), 5.0)
    clock.now += 1

    assert metrics.is_due("acme")
