"""What services and PostgreSQL log while they are killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.kills.verdicts import Verdicts


def judge_logs(verdicts: Verdicts, services: Iterable[Path], postgres: Path) -> None:
    """Judge that nothing was met that its author did not think of, and that no locks crossed."""
    for log in services:
        lines = (json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{")
        verdicts.none(
            f"errors in the log of {log.stem}",
            [line for line in lines if line["level"].lower() in ("error", "critical")],
        )
    lines = postgres.read_text().splitlines()
    verdicts.none("deadlocks", [line for line in lines if "deadlock detected" in line])
