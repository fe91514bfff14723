"""The counting provider as a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.support.processes import Process

from nagaya_local.machine.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


class ProviderProcess(Process):
    """`python -m bench.kills.provider`, its log in a folder."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.requests = folder / "provider.jsonl"
        """Its own log of requests and replies."""
        command = [sys.executable, "-m", "bench.kills.provider", str(port), str(self.requests)]
        super().__init__("provider", command, folder / "provider.log", {})

    def start(self) -> None:
        """Return when it listens."""
        super().start()
        if not self.first_line():
            raise RuntimeError("\n".join(["the provider did not start", *self.last_lines()]))
