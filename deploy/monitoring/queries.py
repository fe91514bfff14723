"""Every query of the rules, alerts and dashboards, for who checks them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from deploy.monitoring.dashboards import DASHBOARDS

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parent
RULE_FILES = (FOLDER / "rules.yml", FOLDER / "alerts.yml")
RATE_INTERVAL = "$__rate_interval"
"""What Grafana replaces by a time that covers a few scrapes."""

_RANGE = re.compile(r"\[(\d+)([mh])\]")


@dataclass(frozen=True, slots=True)
class CheckedQuery:
    """A query, and where it stands."""

    place: str
    expression: str
    may_be_empty: bool
    """Whether it may have no series where nothing is wrong."""


def panel_queries() -> Iterator[CheckedQuery]:
    """Yield the queries of all panels."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                place = f"{dashboard.name}: {panel.title}"
                yield CheckedQuery(place, query.expression, panel.is_rare)


def rules() -> Iterator[dict[str, Any]]:
    """Yield the rules of both files, as they stand there."""
    for file in RULE_FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def recording_rules() -> dict[str, str]:
    """Return the expressions of the recording rules, by what they record."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def faster(text: str, window_seconds: int) -> str:
    """Return PromQL, or a file of rules, whose times over which it looks have this length."""
    return _RANGE.sub(f"[{window_seconds}s]", text.replace(RATE_INTERVAL, f"{window_seconds}s"))
