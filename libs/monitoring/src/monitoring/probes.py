"""How a process can be asked whether it lives and whether it is ready."""

from __future__ import annotations

from monitoring.event_loop import EventLoopWatch
from monitoring.metrics import READY
from monitoring.readiness import Readiness
from monitoring.server import serve


class Probes:
    """What answers `/healthz` and `/readyz`: the event loop, and what the process waits for."""

    def __init__(self) -> None:
        self.loop = EventLoopWatch()
        self.readiness = Readiness()
        READY.set_function(lambda: float(self.readiness.ready))

    def serve(self, host: str, port: int) -> int:
        """Serve metrics, health and readiness; return the port. Raises OSError."""
        return serve(host, port, self.loop, self.readiness)
