"""A gRPC server: options, health, reflection, start, drain and stop."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from interceptor.call_log import CallLog
from interceptor.callers import Callers
from interceptor.limits import interceptor_of
from interceptor.listening import add_port
from interceptor.method import Context, Handler, InterceptedMethod
from monitoring.probes import Probes
from servicekit.errors import StartRefused
from servicekit.policy import methods_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from authentication.verifier import Verifier
    from servicekit.settings import ServerConfig

__all__ = ["Binding", "Context", "Server", "bind"]

MEBIBYTE = 1 << 20
_STOP_SECONDS = 30.0
_ON_DRAIN_SECONDS = 3600.0
_LOOK_SECONDS = 0.05
_RESPONSE_SECONDS = 1.0
_METADATA_BYTES = 16 << 10
_log = logging.getLogger(__name__)

_Serving = health_pb2.HealthCheckResponse.SERVING
_NotServing = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Binding:
    """The handlers of one servicer, by method name, for one service of the contract."""

    service: str
    handlers: Mapping[str, Handler]
    max_request_bytes: int


class _Recorder:
    """Takes the place of a server, to record which handlers a generated function adds."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add_generic_rpc_handlers(self, _: object) -> None:
        pass

    def add_registered_method_handlers(self, _: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers.update(handlers)


def bind(
    add_to_server: Callable[[Any, Any], None],
    servicer: object,
    service: str,
    *,
    max_request_bytes: int = MEBIBYTE,
) -> Binding:
    """Bind a servicer to the service that it implements, such as `nagaya.runs.v1.RunService`.

    `add_to_server` is the generated function. A message of more than `max_request_bytes` is
    refused with RequestTooLarge.
    """
    recorder = _Recorder()
    add_to_server(servicer, recorder)
    return Binding(service, recorder.handlers, max_request_bytes)


class Server:
    """The gRPC server of a process, with every binding behind the interceptor.

    Create it inside the running event loop. `on_drain` begins after the drain and is awaited before
    the stop: end background work there. `probes` tell by HTTP what health does.
    `calls_per_tenant` and `streams_per_tenant` bound what one tenant has in progress. Raises
    PolicyMissing.
    """

    def __init__(
        self,
        config: ServerConfig,
        bindings: Sequence[Binding],
        verifier: Verifier,
        *,
        on_drain: Callable[[], Awaitable[None]] | None = None,
        probes: Probes | None = None,
        calls_per_tenant: int = 512,
        streams_per_tenant: int = 512,
    ) -> None:
        self._config, self._on_drain = config, on_drain
        self._probes = probes or Probes()
        self._log = CallLog()
        callers = Callers(verifier, "" if config.tls is None else config.tls.trust_domain)
        self._interceptor = interceptor_of(callers, self._log, calls_per_tenant, streams_per_tenant)
        self._services = [binding.service for binding in bindings]
        largest = max((binding.max_request_bytes for binding in bindings), default=MEBIBYTE)
        # No limit for all callers together: it would count calls of nobody, and shut others out.
        self._server = grpc.aio.server(options=_options(largest, config.connection_age_seconds))
        for binding in bindings:
            self._add(binding)
        self._health = health.aio.HealthServicer()
        recorder: Any = _Recorder()  # of a server it has what the generated function calls
        health_pb2_grpc.add_HealthServicer_to_server(self._health, recorder)
        self._serve_unchecked(health.SERVICE_NAME, recorder.handlers)
        if config.reflection:
            self._reflect()
        self._lag: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen, and return the port. Health says NOT_SERVING until `set_serving`.

        Raises StartRefused when it cannot listen there.
        """
        address = f"{self._config.listen_host}:{self._config.listen_port}"
        try:
            port = add_port(self._server, address, self._config.tls)
        except RuntimeError:
            raise StartRefused(f"cannot listen on {address}: is the port taken?") from None
        await self.set_serving(False)
        await self._server.start()
        self._lag = asyncio.create_task(self._probes.loop.run())
        listening = f"{self._config.listen_host}:{port}"
        _log.info("listening", extra={"event": "server.listening", "address": listening})
        return port

    async def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - its name says it
        """Set what health reports for every service and the whole: whether to send calls."""
        state = _Serving if serving else _NotServing
        for service in ("", *self._services):
            await self._health.set(service, state)

    async def run_until_signal(self, prepare: Coroutine[Any, Any, None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain. A second signal ends the draining at once.

        `prepare` is what must be done before the service is ready, such as waiting for peers; when
        it has ended, health says SERVING. What it raises is raised here.
        """
        loop, asked, hurried = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            hurried.set() if asked.is_set() else asked.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        preparing = asyncio.create_task(self._become_ready(prepare))
        waiting = asyncio.create_task(asked.wait())
        await asyncio.wait((preparing, waiting), return_when=asyncio.FIRST_COMPLETED)
        if preparing.done() and (failure := preparing.exception()) is not None:
            waiting.cancel()
            await self.stop(0.0)
            raise failure
        await waiting
        preparing.cancel()
        await self.drain(hurried)

    async def drain(self, hurried: asyncio.Event | None = None) -> None:
        """Report NOT_SERVING, serve on for `drain_seconds`, then stop with 30 s of grace.

        `on_drain` begins before the stop, and the grace once it has ended. The stop begins when
        nothing is under way, or when a call comes although the server is NOT_SERVING. `hurried`
        ends the waiting at once, and the calls in progress with it.
        """
        seconds = self._config.drain_seconds
        _log.info("draining", extra={"event": "server.draining", "seconds": seconds})
        await self._health.enter_graceful_shutdown()
        self._probes.readiness.wait_for("end", "nothing any more: it stops")
        hurry = asyncio.ensure_future((hurried or asyncio.Event()).wait())
        await asyncio.wait((hurry,), timeout=seconds)
        background = asyncio.create_task(self._end_background())
        await self._serve_rest(background, hurry)
        refusing = asyncio.create_task(self._server.stop(_ON_DRAIN_SECONDS))
        left = await background - time.monotonic()
        await self.stop(0.0 if hurry.done() else max(left, 0.0))
        await refusing
        hurry.cancel()

    async def _end_background(self) -> float:
        """Await `on_drain`; return when the grace that follows it ends."""
        if self._on_drain is not None:
            await self._on_drain()
        return time.monotonic() + _STOP_SECONDS

    async def _serve_rest(
        self, ending: asyncio.Task[float], hurry: asyncio.Task[Literal[True]]
    ) -> None:
        """Serve until nothing is under way, or a call comes from one who asks for no health.

        Not GOAWAY at once: behind it gRPC closes a connection with the end of its last call, and
        what a proxy has not read by then of a large response is lost.
        """
        shared, quiet = self._interceptor, 0.0
        begun = shared.arriving.begun
        while not hurry.done() and shared.arriving.begun == begun:
            now = time.monotonic()
            if shared.arriving or shared.unary or shared.streams:
                quiet = now + _RESPONSE_SECONDS
            if ending.done() and now >= min(quiet, ending.result()):
                return
            await asyncio.wait((hurry,), timeout=_LOOK_SECONDS)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, and cancel those in progress after `grace` seconds."""
        await self._server.stop(grace)
        if self._lag is not None:
            self._lag.cancel()
        self._log.flush()
        _log.info("stopped", extra={"event": "server.stopped"})

    async def _become_ready(self, prepare: Coroutine[Any, Any, None] | None) -> None:
        if prepare is not None:
            await prepare
        self._probes.readiness.started()
        await self.set_serving(True)

    def _add(self, binding: Binding) -> None:
        methods, most = methods_of(binding.service), binding.max_request_bytes
        handlers = {
            name: InterceptedMethod(self._interceptor, methods[name], handler, most).handler()
            for name, handler in binding.handlers.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(binding.service, handlers),)
        )

    def _serve_unchecked(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add handlers that are not behind the interceptor, such as those of health.

        Not by the generated function: it registers methods with gRPC, and for each of them grpc.aio
        awaits one more future whenever it accepts a call of any method.
        """
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, dict(handlers)),)
        )

    def _reflect(self) -> None:
        """Serve reflection under both names; the second is not in the pool, so not listed."""
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        recorder = _Recorder()
        servicer = reflection.aio.ReflectionServicer(names)
        # its stub is untyped
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, recorder)  # pyright: ignore[reportUnknownMemberType]
        for name in (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection"):
            self._serve_unchecked(name, recorder.handlers)


def _options(largest: int, age_seconds: float) -> list[tuple[str, int]]:
    age = random.uniform(age_seconds, 2 * age_seconds)  # noqa: S311 - a jitter
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 1024),
        ("grpc.max_connection_age_ms", max(1, round(1000 * age))),
        ("grpc.max_connection_age_grace_ms", 60 * 60_000),
        ("grpc.max_connection_idle_ms", 30 * 60_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # The interceptor refuses larger messages with a reason; beyond this gRPC, without one.
        ("grpc.max_receive_message_length", max(largest, 4 * MEBIBYTE)),
        # Only identity: a message takes no more memory than its sender has sent.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # Of a message that is not read yet 64 KiB at most are in memory.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 64 << 10),
        ("grpc.max_send_message_length", 16 * MEBIBYTE),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        # Of more than 1,000 calls that have not been looked at gRPC cancels any, whosever it is.
        ("grpc.server.max_pending_requests", 50_000),
        ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ]
