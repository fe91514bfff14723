"""The dashboards as Grafana reads them. `make docs` writes them to `grafana/`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.monitoring.activity_panels import GATEWAY, OVERVIEW, RUNS
from deploy.monitoring.resource_panels import ARTIFACTS, PROCESSES, TENANTS

if TYPE_CHECKING:
    from deploy.monitoring.panels import Dashboard, Panel

DASHBOARDS = (OVERVIEW, RUNS, GATEWAY, ARTIFACTS, TENANTS, PROCESSES)

_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION = 41


def files() -> dict[str, str]:
    """Return the text of each file, by its name."""
    return {f"{one.name}.json": json.dumps(_json(one), indent=1) + "\n" for one in DASHBOARDS}


def _json(dashboard: Dashboard) -> dict[str, object]:
    return {
        "uid": f"nagaya-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["nagaya"],
        "timezone": "browser",
        "schemaVersion": _SCHEMA_VERSION,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}],
        },
        "links": [
            {"type": "dashboards", "tags": ["nagaya"], "title": "Nagaya", "asDropdown": True}
        ],
        "panels": [_panel(place, panel) for place, panel in enumerate(dashboard.panels)],
    }


def _panel(place: int, panel: Panel) -> dict[str, object]:
    row, column = divmod(place, _COLUMNS)
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "exemplar": "_bucket" in query.expression,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
