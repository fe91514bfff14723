"""Alerts, evaluated by Prometheus' own engine on what processes would export."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy.monitoring import queries
from tests.support import promql

if TYPE_CHECKING:
    from pathlib import Path

STUCK = 'nagaya_operations_stuck{kind="export_tenant"}'
IDLE = 'nagaya_operation_idle_seconds{kind="export_tenant"}'
JOBS = tuple(
    job["job_name"]
    for job in yaml.safe_load((queries.FOLDER / "prometheus.yml").read_text())["scrape_configs"]
)

pytestmark = pytest.mark.timeout(600)  # the first build compiles Prometheus' engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return promql.build(tmp_path_factory.mktemp("promql"))


def true(engine: Path, alert: str, exported: dict[str, str]) -> list[dict[str, str]]:
    """Return the labels for which an alert's condition is true when jobs export these metrics."""
    scrapes = promql.Scrapes({})
    scrapes.taken = [
        {
            "Milliseconds": time.time_ns() // 1_000_000,
            "ContentType": "text/plain; version=0.0.4",
            "Labels": {"job": job, "instance": f"{job}:9090"},
            "Text": text,
        }
        for job, text in exported.items()
    ]
    _, _, (answer,) = promql.ask(engine, scrapes, [queries.alerts()[alert]["expr"]])
    assert answer.error == ""
    return [each["Labels"] for each in answer.series]


@pytest.mark.parametrize(
    ("stuck", "idle", "fires"),
    [
        pytest.param(1, 20, True, id="waits, and was tried again 20 s ago"),
        pytest.param(0, 7200, False, id="a step that takes two hours"),
    ],
)
def test_an_operation_that_waits_is_stuck_and_one_that_takes_long_is_not(
    engine: Path, stuck: int, idle: int, *, fires: bool
) -> None:
    text = f"{STUCK} {stuck}\n{IDLE} {idle}\n"

    found = true(engine, "NagayaOperationStuck", {"nagaya-tenant": text})

    assert found == ([{"kind": "export_tenant"}] if fires else [])


@pytest.mark.parametrize("absent", JOBS)
def test_a_job_without_a_target_is_named(engine: Path, absent: str) -> None:
    exported = dict.fromkeys(JOBS, "up 1\n")
    assert true(engine, "NagayaJobAbsent", exported) == []

    del exported[absent]

    assert true(engine, "NagayaJobAbsent", exported) == [{"job": absent}]
