"""The HTTP server of `/metrics`, `/healthz` and `/readyz`, in a thread of its own.

A thread, so that it answers while the event loop does not.
"""

from __future__ import annotations

import json
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, exposition

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from monitoring.event_loop import EventLoopWatch
    from monitoring.readiness import Readiness

_HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # seconds, for who connects and says nothing

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a scrape is no event."""


def serve(
    host: str,
    port: int,
    watch: EventLoopWatch,
    readiness: Readiness,
    registry: CollectorRegistry = REGISTRY,
) -> int:
    """Serve in the background until the process ends; return the port. Raises OSError."""
    server = make_server(host, port, _application(watch, readiness, registry), _Server, _Handler)
    threading.Thread(target=server.serve_forever, name="monitoring", daemon=True).start()
    return server.server_port


def _application(
    watch: EventLoopWatch, readiness: Readiness, registry: CollectorRegistry
) -> WSGIApplication:
    # its return type is not written there
    metrics = cast("WSGIApplication", exposition.make_wsgi_app(registry))  # pyright: ignore[reportUnknownMemberType]

    def application(request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match request.get("PATH_INFO"):
            case "/healthz":
                seconds = round(watch.age, 3)
                body = {"alive": watch.alive, "event_loop_turned_seconds_ago": seconds}
                return _answer(start, body, good=watch.alive)
            case "/readyz":
                waits = readiness.waits_for
                body = {"ready": readiness.ready, "waits_for": list(waits)}
                return _answer(start, body, good=readiness.ready)
            case "/" | "/metrics":
                return metrics(request, start)
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there are /metrics, /healthz and /readyz\n"]

    return application


def _answer(start: StartResponse, body: object, *, good: bool) -> list[bytes]:
    start("200 OK" if good else "503 Service Unavailable", list(_HEADERS))
    return [json.dumps(body).encode() + b"\n"]
