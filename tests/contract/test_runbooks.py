"""Each alert has a page, which repeats its condition; each page has an alert."""

from __future__ import annotations

from pathlib import Path

from deploy.monitoring import queries

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "operations" / "runbooks"


def test_each_alert_has_a_page_with_its_condition() -> None:
    stale = [
        name
        for name, rule in queries.alerts().items()
        if f"```promql\n{rule['expr'].strip()}\n```" not in (RUNBOOKS / f"{name}.md").read_text()
        or not rule["annotations"]["runbook_url"].endswith(f"/docs/operations/runbooks/{name}.md")
    ]

    assert stale == []


def test_each_page_has_an_alert_and_a_line_in_the_list() -> None:
    listed = (RUNBOOKS / "README.md").read_text()
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}

    assert pages == set(queries.alerts())
    assert [page for page in sorted(pages) if f"({page}.md)" not in listed] == []


def test_each_alert_says_how_bad_it_is() -> None:
    severities = {rule["labels"]["severity"] for rule in queries.alerts().values()}

    assert severities == {"critical", "warning"}
