"""Prometheus' own parsers and engine, asked about scrapes that a test has made."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MODULE = Path(__file__).parent / "promql"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an expression yields."""

    error: str
    metrics: frozenset[str]
    """The names of the series that it selects."""
    series: list[dict[str, Any]]


@dataclass(slots=True)
class Scrapes:
    """What processes answered at `/metrics`, moment by moment."""

    ports: Mapping[str, int]
    """By job."""
    taken: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def take(self) -> None:
        """Ask every process once, as Prometheus does."""
        now = time.time_ns() // 1_000_000
        for job, port in self.ports.items():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/metrics", headers={"Accept": _OPEN_METRICS})
            response = connection.getresponse()
            self.taken.append(
                {
                    "Milliseconds": now,
                    "ContentType": response.getheader("Content-Type", ""),
                    "Labels": {"job": job, "instance": f"127.0.0.1:{port}"},
                    "Text": response.read().decode(),
                }
            )
            connection.close()

    def forget_older_than(self, seconds: float) -> None:
        """Keep the scrapes of the last so many seconds."""
        since = time.time_ns() // 1_000_000 - seconds * 1000
        self.taken = [one for one in self.taken if one["Milliseconds"] >= since]


def get(port: int, path: str) -> dict[str, Any]:
    """Return what a process answers, in JSON, whatever the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def build(folder: Path) -> Path:
    """Build the program; the first time takes a minute."""
    go = shutil.which("go")
    assert go is not None, "Go 1.26 or newer is needed: https://go.dev/dl"
    program = folder / "promql"
    subprocess.run((go, "build", "-mod=readonly", "-o", str(program), "."), cwd=_MODULE, check=True)
    return program


def ask(
    program: Path,
    scrapes: Scrapes,
    expressions: Iterable[str],
    *,
    rule_files: Sequence[Path] = (),
    rules: Mapping[str, str] | None = None,
) -> tuple[list[str], int, list[Answer]]:
    """Return what is wrong with the files, how many exemplars there are, and all answers."""
    asked = {
        "RuleFiles": [str(file) for file in rule_files],
        "Scrapes": scrapes.taken,
        "Expressions": list(expressions),
        "Rules": dict(rules or {}),
    }
    done = subprocess.run(
        (str(program),), input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    answers = [
        Answer(each["Error"], frozenset(each["Metrics"] or ()), each["Series"] or [])
        for each in found["Answers"]
    ]
    return found["Problems"], found["Exemplars"], answers
