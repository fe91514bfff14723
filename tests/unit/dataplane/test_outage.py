"""An outage is told at once, now and then, and at its end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from dataplane.outage import Outage

if TYPE_CHECKING:
    import pytest

_log = logging.getLogger("probe")


def test_an_outage_is_told_once_a_minute_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    away = Outage(_log, "it is away")

    for _ in range(130):
        away.goes_on(why="nobody answers")
        now += 1
    away.is_over()
    away.is_over()
    away.goes_on()

    told = [(record.getMessage(), vars(record)["seconds"]) for record in caplog.records]
    assert told == [
        ("it is away", 0.0),
        ("it is away", 60.0),
        ("it is away", 120.0),
        ("over: it is away", 130.0),
        ("it is away", 0.0),
    ]
