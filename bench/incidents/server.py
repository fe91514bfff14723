"""A real Prometheus beside a stack, with our rules; its times are shorter."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import urlopen

import yaml
from deploy.monitoring import queries
from tests.support.waiting import wait_until

from nagaya_local.machine.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

CLONE = Path(__file__).parents[2]
_MODULE = Path(__file__).parent / "prometheus"
_PROGRAMS = ("prometheus", "promtool")
_TAGS = "remove_all_sd"  # discovery of clouds is two thirds of the program
_FOR = re.compile(r"^(\s+for: )\d+m$", re.MULTILINE)
_START_SECONDS = 60.0


def build() -> Path:
    """Build Prometheus and promtool, once; return their folder. It takes some minutes."""
    folder = CLONE / ".cache" / "prometheus"
    if all((folder / program).exists() for program in _PROGRAMS):
        return folder
    go = shutil.which("go")
    if go is None:
        raise FileNotFoundError("Go 1.26 or newer is needed: https://go.dev/dl")
    packages = [f"github.com/prometheus/prometheus/cmd/{program}" for program in _PROGRAMS]
    command = (go, "build", "-mod=readonly", "-tags", _TAGS, "-o", f"{folder}/", *packages)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=_MODULE, check=True)
    return folder


class Prometheus:
    """A server that scrapes every second."""

    def __init__(self, folder: Path, targets: Mapping[str, str], window: int, hold: int) -> None:
        self._folder = folder
        self._port = free_port()
        self._write(targets, window, hold)

    def check(self, programs: Path) -> str:
        """Have promtool check the configuration and the rules; return what it says."""
        command = (programs / "promtool", "check", "config", self._folder / "prometheus.yml")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return " ".join(done.stdout.split())

    @asynccontextmanager
    async def running(self, programs: Path) -> AsyncGenerator[None]:
        """Run it inside the block."""
        command = (
            str(programs / "prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        )
        with (self._folder / "prometheus.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            await wait_until(self._ready, seconds=_START_SECONDS, pause=0.2)
            yield
        finally:
            process.terminate()
            await process.wait()

    async def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = await self._get("/api/v1/alerts")
        alerts = found["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now."""
        found = await self._get(f"/api/v1/query?query={quote(expression)}")
        return found["data"]["result"]

    async def _ready(self) -> bool:
        try:
            await self.firing()
        except OSError:
            return False
        return True

    async def _get(self, path: str) -> dict[str, Any]:
        return await asyncio.to_thread(self._read, path)

    def _read(self, path: str) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as response:
            return json.load(response)

    def _write(self, targets: Mapping[str, str], window: int, hold: int) -> None:
        """Write the sample of deploy/monitoring with these targets, and the rules, made faster."""
        config = yaml.safe_load((queries.FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        for file in queries.RULE_FILES:
            text = queries.faster(file.read_text(), window)
            text = _FOR.sub(lambda found: f"{found[1]}{hold}s", text)
            (self._folder / file.name).write_text(text)
