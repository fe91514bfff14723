"""Every log call has an event that is listed in docs/log-events.md."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from docs import log_events

if TYPE_CHECKING:
    from pathlib import Path


def read(code: str) -> list[tuple[str, str, str] | None]:
    """Return the events of a call, as they would be listed."""
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    found = log_events.events_of(call, "probe")
    return [None if event is None else (event.name, event.level, event.message) for event in found]


def test_every_log_call_has_its_event() -> None:
    assert list(log_events.problems()) == []


def test_the_page_lists_every_event() -> None:
    page = log_events.page()
    names = {call.event.name for call in log_events.calls() if call.event is not None}

    assert len(names) > 5
    assert all(f"| `{name}` |" in page for name in names)


@pytest.mark.parametrize(
    ("code", "events"),
    [
        (
            '_log.info("on", extra={"event": "server.listening", "address": a})',
            [("server.listening", "info", "on")],
        ),
        (
            'self._log.exception(f"{what} failed", extra={**about, "event": "step.failed"})',
            [("step.failed", "error", "{what} failed")],
        ),
        (
            'RetryLog(_log, "temporal.unavailable", "waiting", address=a)',
            [
                ("temporal.unavailable", "warning", "waiting"),
                ("temporal.recovered", "info", "recovered: waiting"),
            ],
        ),
        (
            'PeriodicTask(self.read, 5.0, _log, "catalog.unavailable", "not read", transient=X)',
            [
                ("catalog.unavailable", "warning", "not read"),
                ("catalog.recovered", "info", "recovered: not read"),
                ("catalog.failed", "error", "a defect: not read"),
            ],
        ),
        ('PeriodicTask(self.read, 5.0, _log, event, "not read")', [None]),
        ('_log.info("on")', [None]),
        ('_log.info("on", extra=fields)', [None]),
        ('_log.info("on", extra={"event": event})', [None]),
        ('_log.info("on", extra={"event": "ServerListening"})', [None]),
        ('RetryLog(_log, event, "waiting")', [None]),
        ('console.info("no logger")', []),
        ('await_all(_log, "no.log")', []),
    ],
)
def test_the_events_of_a_call_are_read_from_its_text(
    code: str, events: list[tuple[str, str, str] | None]
) -> None:
    assert read(code) == events


def test_a_call_without_an_event_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "libs" / "thing" / "src" / "thing"
    folder.mkdir(parents=True)
    (folder / "work.py").write_text('_log.info("done", extra={"event": "thing.done"})\n')
    (folder / "more.py").write_text('_log.info("done")\n')
    monkeypatch.setattr(log_events, "ROOT", tmp_path)

    (missing,) = log_events.problems()

    assert missing.startswith("libs/thing/src/thing/more.py:1: a log call needs extra=")
