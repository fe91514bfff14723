"""A method behind the guard."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from interceptor.draining import drain
from servicekit import status, telemetry
from servicekit.call import begin
from servicekit.errors import RequestInvalid, RequestTooLarge, TooManyCalls
from servicekit.guard.admission import (
    check_fields,
    check_tenant,
    holder_of,
    identify,
    metadata_of,
    request_id_of,
)
from servicekit.guard.failures import code_name, told
from servicekit.guard.passage import Passage, Timeouts
from servicekit.guard.records import end_span, start_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentelemetry.trace import Tracer

    from interceptor.places import Places
    from interceptor.turns import Turns
    from servicekit.guard.records import CallLog
    from servicekit.identity import Verifier
    from servicekit.policy import Method

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_RETRY_AFTER_MS = "200"
_LARGE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Guard:
    """What the guarded methods of one server share.

    `arriving` counts calls whose first message has not come, which `silence` ends; `refusing` those
    that are heard out after a refusal. `stalls` ends streams that nobody reads. A call is worked on
    in turn; a large one has a turn alone, too.
    """

    verifier: Verifier
    arriving: Places
    calls: Places
    streams: Places
    refusing: Places
    turns: Turns
    large: Turns
    silence: Timeouts
    stalls: Timeouts
    log: CallLog
    tracer: Tracer | None


class GuardedMethod:
    """One method; what does not depend on the call is prepared here."""

    def __init__(
        self, guard: Guard, method: Method, handler: Handler, max_request_bytes: int
    ) -> None:
        self._guard = guard
        self._method = method
        self._behaviour = _behaviour(method, handler)
        self._parse: Callable[[bytes], Any] = handler.request_deserializer or bytes
        self._serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._max_request_bytes = max_request_bytes
        self._limit = guard.streams if method.streaming else guard.calls
        seconds = method.max_seconds
        self._timeouts = Timeouts(seconds, f"it took longer than {seconds:g} s")
        self._metrics = telemetry.CALLS.of(method.path[1:])
        self._shape = (bool(handler.request_streaming), bool(handler.response_streaming))

    def handler(self) -> Handler:
        """Return the handler to register. It takes and gives bytes, because the guard parses.

        As far as gRPC knows, every request is a stream: of others it reads the message before it
        calls a handler, and waits for ever if none comes.
        """
        if self._shape[1]:
            return grpc.stream_stream_rpc_method_handler(self._serve_stream)
        return grpc.stream_unary_rpc_method_handler(self._serve_unary)

    async def _serve_unary(self, incoming: Any, context: Context) -> bytes:
        passage, request = Passage(self._method), None
        try:
            request = await self._enter(passage, incoming, context)
            response = self._packed(passage, await self._behaviour(request, context))
        except BaseException as error:
            await self._fail(error, passage, context, request)
            raise
        self._end(passage, "OK")
        return response

    async def _serve_stream(self, incoming: Any, context: Context) -> None:
        passage, request = Passage(self._method), None
        stalls = self._guard.stalls
        try:
            request = await self._enter(passage, incoming, context)
            async with aclosing(self._behaviour(request, context)) as responses:
                async for response in responses:
                    stalls.start(passage)
                    await context.write(self._packed(passage, response))
                    stalls.stop(passage)
        except BaseException as error:
            await self._fail(error, passage, context, request)
            raise
        self._end(passage, "OK")

    async def _enter(self, passage: Passage, incoming: Any, context: Context) -> Any:
        """Check all that can be checked; return the request, or the iterator over its messages."""
        self._admit(passage, context)
        raw = await self._first_message(passage, context)
        passage.bytes_in = size = len(raw)
        if size > self._max_request_bytes:
            raise RequestTooLarge(f"{size} bytes are more than {self._max_request_bytes}")
        if size > _LARGE_BYTES:
            request = await self._opened_alone(passage, raw)
        else:
            request = await self._opened(passage, raw)
        return self._messages(passage, request, incoming) if self._shape[0] else request

    async def _first_message(self, passage: Passage, context: Context) -> bytes:
        guard = self._guard
        self._take_place(guard.arriving, passage.holder, passage)
        guard.silence.start(passage)
        raw = await context.read()
        guard.silence.stop(passage)
        self._leave_place(passage)
        passage.arrived = True
        if raw is grpc.aio.EOF:
            raise RequestInvalid("the call ended before its first message")
        return raw

    def _take_place(self, places: Places, holder: str, passage: Passage) -> None:
        if not places.enter(holder):
            taken = places.taken(holder)
            message = f"{taken} calls of this caller or tenant are being served"
            raise TooManyCalls(message, retry_after_ms=_RETRY_AFTER_MS)
        passage.holder, passage.entered = holder, places

    def _leave_place(self, passage: Passage) -> None:
        if passage.entered is not None:
            passage.entered.leave(passage.holder)
            passage.entered = None

    def _admit(self, passage: Passage, context: Context) -> None:
        """Do all that can be done without the body."""
        method = self._method
        passage.task = asyncio.current_task()
        self._metrics.in_flight += 1
        begin(passage)
        passage.request_id = request_id_of({})
        metadata: dict[str, Any] = metadata_of(context.invocation_metadata() or ())
        passage.request_id = request_id_of(metadata)
        context.set_trailing_metadata((("x-request-id", passage.request_id),))
        left = cast("float | None", context.time_remaining())
        if left is None or left > method.max_seconds:
            passage.deadline = passage.started + method.max_seconds
            self._timeouts.start(passage)
        else:
            passage.deadline = passage.started + left  # and gRPC watches it
        principal = identify(passage, method, metadata, self._guard.verifier)
        passage.holder = holder_of(principal)
        given = metadata.get("traceparent")
        if self._guard.tracer is not None:
            start_span(self._guard.tracer, passage, given)
        elif given is not None and principal.workload is not None:
            passage.traceparent = given

    async def _opened_alone(self, passage: Passage, raw: bytes) -> Any:
        """Do what `_opened` does, with no other large request beside, and let the loop rest."""
        passage.large = await self._guard.large.take(passage.holder)
        begun = asyncio.get_running_loop().time()
        request = await self._opened(passage, raw)
        await asyncio.sleep(asyncio.get_running_loop().time() - begun)
        passage.large.end_after_rest()
        return request

    async def _opened(self, passage: Passage, raw: bytes) -> Any:
        """Parse a body, check what needs it, and wait for the call's turn."""
        request = self._parsed(raw)
        tenant_of = self._method.tenant_of
        if tenant_of is not None:
            check_tenant(passage, tenant_of(request))
        holder = passage.tenant_id or passage.holder
        self._take_place(self._limit, holder, passage)
        passage.turn = await self._guard.turns.take(holder)
        check_fields(request, len(raw))
        return request

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._parse(raw)
        except DecodeError:
            raise RequestInvalid("the request is not a well-formed message") from None

    async def _messages(
        self, passage: Passage, first: Any, raws: AsyncIterator[bytes]
    ) -> AsyncIterator[Any]:
        yield first
        tenant_of = self._method.tenant_of
        async for raw in raws:
            size = len(raw)
            passage.bytes_in += size
            if size > self._max_request_bytes:
                raise RequestTooLarge(f"{size} bytes are more than {self._max_request_bytes}")
            request = self._parsed(raw)
            if tenant_of is not None and tenant_of(request) not in ("", passage.tenant_id):
                raise RequestInvalid("a later message of the stream names another tenant")
            check_fields(request, size)
            yield request

    def _packed(self, passage: Passage, response: Any) -> bytes:
        raw = self._serialize(response)
        passage.bytes_out += len(raw)
        return raw

    async def _fail(
        self, error: BaseException, passage: Passage, context: Context, request: object
    ) -> None:
        """Tell the caller why: this raises, unless the caller has gone or was told already."""
        self._stop_timers(passage)
        if isinstance(error, grpc.aio.AbortError):
            self._end(passage, code_name(context))
            return
        refusal = told(error, passage, request)
        if refusal is None:
            late = passage.deadline is not None and time.monotonic() >= passage.deadline
            self._end(passage, "DEADLINE_EXCEEDED" if late else "CANCELLED")
            return
        code, message, details = status.encode(refusal, self._method.domain)
        passage.reason = refusal.reason
        self._end(passage, code.name)
        if self._shape[0] or not passage.arrived:
            await drain(context, self._guard.refusing, passage.holder, heard=passage.arrived)
        trailers = [("x-request-id", passage.request_id), (status.DETAILS_KEY, details)]
        if not refusal.retry_at_once:
            trailers.append(("grpc-retry-pushback-ms", "-1"))
        await context.abort(code, message, tuple(trailers))

    def _stop_timers(self, passage: Passage) -> None:
        self._timeouts.stop(passage)
        self._guard.silence.stop(passage)
        self._guard.stalls.stop(passage)

    def _end(self, passage: Passage, code: str) -> None:
        self._stop_timers(passage)
        passage.end(code)
        self._leave_place(passage)
        for turn in (passage.turn, passage.large):
            if turn is not None:
                turn.end()
        self._metrics.end(passage.seconds, code)
        self._guard.log.put(passage)
        if passage.span is not None:
            end_span(passage.span, passage)


def _behaviour(method: Method, handler: Handler) -> Callable[[Any, Context], Any]:
    """Return the servicer's own method. Raises TypeError when it has the wrong shape."""
    unary = handler.stream_unary or handler.unary_unary
    streaming = handler.stream_stream or handler.unary_stream
    if streaming is not None and not inspect.isasyncgenfunction(streaming):
        raise TypeError(f"the servicer's method for {method.path} is no async generator function")
    if unary is not None and not inspect.iscoroutinefunction(unary):
        raise TypeError(f"the servicer's method for {method.path} is no coroutine function")
    behaviour: Any = unary or streaming
    return behaviour
