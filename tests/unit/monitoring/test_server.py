from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter

from monitoring.event_loop import EventLoopWatch
from monitoring.readiness import Readiness
from monitoring.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def watch() -> EventLoopWatch:
    return EventLoopWatch()


@pytest.fixture
def get(readiness: Readiness, watch: EventLoopWatch) -> Callable[..., tuple[int, str, str]]:
    registry = CollectorRegistry()
    Counter("lines", "Lines.", registry=registry).inc(3, {"trace_id": "4bf9"})
    port = serve("127.0.0.1", 0, watch, readiness, registry)

    def get(path: str, accept: str = "") -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, response.getheader("Content-Type", ""), body

    return get


def test_readiness_says_in_words_what_is_waited_for(
    get: Callable[..., tuple[int, str, str]], readiness: Readiness
) -> None:
    readiness.wait_for("registry", "the registry of tenants")
    readiness.started()
    status, kind, body = get("/readyz")
    readiness.found("registry")

    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"ready": False, "waits_for": ["the registry of tenants"]}
    assert get("/readyz")[0] == 200


async def test_a_process_is_alive_while_its_event_loop_turns(
    get: Callable[..., tuple[int, str, str]],
    watch: EventLoopWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = get("/healthz")
    monkeypatch.setattr(watch, "_turned_at", time.monotonic() - 20)
    stuck = get("/healthz")
    monkeypatch.setattr(watch, "_turned_at", time.monotonic())

    assert before[0] == 200
    assert stuck[0] == 503
    assert json.loads(stuck[2])["event_loop_turned_seconds_ago"] >= 20
    assert get("/healthz")[0] == 200


def test_a_scraper_gets_exemplars_where_it_asks_for_openmetrics(
    get: Callable[..., tuple[int, str, str]],
) -> None:
    status, kind, plain = get("/metrics")
    _, open_kind, open_metrics = get("/metrics", OPEN_METRICS)

    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert open_kind.startswith("application/openmetrics-text")
    assert "4bf9" not in plain
    assert '# {trace_id="4bf9"}' in open_metrics


def test_other_paths_are_refused(get: Callable[..., tuple[int, str, str]]) -> None:
    assert get("/debug")[0] == 404
