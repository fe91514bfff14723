"""One method of a servicer, with everything that happens before and after its handler."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from interceptor.admission import (
    authenticate,
    check_fields,
    check_metadata,
    check_tenant,
    key_of,
    request_id_of,
)
from interceptor.draining import drain_request
from interceptor.failures import code_name, error_for_caller
from interceptor.server_call import CallTimeouts, ServerCall
from interceptor.spans import end_span, start_span
from monitoring.calls import CALLS
from servicekit import status
from servicekit.call import set_current_call
from servicekit.errors import RequestInvalid, RequestTooLarge, TooManyCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentelemetry.trace import Tracer

    from interceptor.call_log import CallLog
    from interceptor.callers import Callers
    from interceptor.concurrency_limit import ConcurrencyLimit
    from interceptor.fair_semaphore import FairSemaphore
    from servicekit.policy import Method

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_RETRY_AFTER_MS = "200"
_LARGE_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Interceptor:
    """What all intercepted methods of one server share.

    Limits count by key (caller, then tenant): `arriving` the calls whose first message has not been
    read, `unary` and `streams` the calls in progress, `draining` the refused requests that are read
    to their end. `receiving` bounds the messages in memory that nobody has looked at. `running`
    orders the calls that compute; a large request also needs the only permit of `parsing_large`.
    `first_message` and `blocked_write` cancel calls that wait too long for message or reader.
    """

    callers: Callers
    arriving: ConcurrencyLimit
    unary: ConcurrencyLimit
    streams: ConcurrencyLimit
    draining: ConcurrencyLimit
    receiving: FairSemaphore
    running: FairSemaphore
    parsing_large: FairSemaphore
    first_message: CallTimeouts
    blocked_write: CallTimeouts
    log: CallLog
    tracer: Tracer | None


class InterceptedMethod:
    """A method behind the interceptor; what is the same for every call is prepared once."""

    def __init__(
        self, interceptor: Interceptor, method: Method, handler: Handler, max_request_bytes: int
    ) -> None:
        self._interceptor = interceptor
        self._method = method
        self._behaviour = _behaviour(method, handler)
        self._parse: Callable[[bytes], Any] = handler.request_deserializer or bytes
        self._serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._max_request_bytes = max_request_bytes
        self._limit = interceptor.streams if method.streaming else interceptor.unary
        seconds = method.max_seconds
        self._timeouts = CallTimeouts(seconds, f"it took longer than {seconds:g} s")
        self._metrics = CALLS.of(method.path[1:])
        self._request_streaming = bool(handler.request_streaming)
        self._response_streaming = bool(handler.response_streaming)

    def handler(self) -> Handler:
        """Return the handler to register. It takes and returns bytes: messages are parsed here.

        To gRPC every request is a stream: it reads the message of a unary request before it calls
        the handler, and waits for ever if none comes.
        """
        if self._response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._serve_stream)
        return grpc.stream_unary_rpc_method_handler(self._serve_unary)

    async def _serve_unary(self, incoming: Any, context: Context) -> bytes:
        call, request = ServerCall(self._method), None
        try:
            request = await self._accept(call, incoming, context)
            response = self._serialized(call, await self._behaviour(request, context))
        except BaseException as error:
            await self._fail(error, call, context, request)
            raise
        self._end(call, "OK")
        return response

    async def _serve_stream(self, incoming: Any, context: Context) -> None:
        call, request = ServerCall(self._method), None
        blocked_write = self._interceptor.blocked_write
        try:
            request = await self._accept(call, incoming, context)
            async with aclosing(self._behaviour(request, context)) as responses:
                async for response in responses:
                    blocked_write.start(call)
                    await context.write(self._serialized(call, response))
                    blocked_write.stop(call)
        except BaseException as error:
            await self._fail(error, call, context, request)
            raise
        self._end(call, "OK")

    async def _accept(self, call: ServerCall, incoming: Any, context: Context) -> Any:
        """Check the call; return its request, or the iterator over the messages of a stream."""
        await self._admit(call, context)
        raw = await self._first_message(call, context)
        call.bytes_in = size = len(raw)
        if size > _LARGE_BYTES:
            request = await self._parse_large(call, raw)
        else:
            request = await self._parse_and_check(call, raw)
        return self._messages(call, request, incoming) if self._request_streaming else request

    async def _first_message(self, call: ServerCall, context: Context) -> bytes:
        interceptor = self._interceptor
        self._count(call, interceptor.arriving, call.key)
        interceptor.first_message.start(call)
        receiving = interceptor.receiving
        call.permit = receiving.acquire_now(call.key) or await receiving.acquire(call.key)
        raw = await context.read()
        interceptor.first_message.stop(call)
        self._uncount(call)
        call.first_message_read = True
        if raw is grpc.aio.EOF:
            raise RequestInvalid("the call ended before its first message")
        if (size := len(raw)) > self._max_request_bytes:
            del raw  # which the traceback would keep in memory
            raise RequestTooLarge(f"{size} bytes are more than {self._max_request_bytes}")
        call.permit.release()
        return raw

    def _count(self, call: ServerCall, limit: ConcurrencyLimit, key: str) -> None:
        """Count the call for a key until `_uncount`. Raises TooManyCalls."""
        if not limit.acquire(key):
            in_use = limit.in_use(key)
            message = f"{in_use} calls of this caller or tenant are being served"
            raise TooManyCalls(message, retry_after_ms=_RETRY_AFTER_MS)
        call.key, call.limit = key, limit

    def _uncount(self, call: ServerCall) -> None:
        if call.limit is not None:
            call.limit.release(call.key)
            call.limit = None

    async def _admit(self, call: ServerCall, context: Context) -> None:
        """Check what needs no request: metadata, token, policy, deadline."""
        method = self._method
        call.task = asyncio.current_task()
        self._metrics.in_flight += 1
        set_current_call(call)
        entries = tuple(context.invocation_metadata() or ())
        metadata: dict[str, Any] = dict(entries)
        call.request_id = request_id_of(metadata)
        check_metadata(entries, metadata)
        context.set_trailing_metadata((("x-request-id", call.request_id),))
        left: Any = context.time_remaining()  # None without a deadline, whatever the stub says
        if left is None or left > method.max_seconds:
            call.deadline = call.started + method.max_seconds
            self._timeouts.start(call)
        else:
            call.deadline = call.started + left  # and gRPC watches it
        principal = await authenticate(call, method, metadata, context, self._interceptor.callers)
        call.key = key_of(principal)
        traceparent = metadata.get("traceparent")
        if self._interceptor.tracer is not None:
            start_span(self._interceptor.tracer, call, traceparent)
        elif traceparent is not None and principal.workload is not None:
            call.traceparent = traceparent

    async def _parse_large(self, call: ServerCall, raw: bytes) -> Any:
        """Do what `_parse_and_check` does, one large request at a time, with pauses for others."""
        call.large_permit = await self._interceptor.parsing_large.acquire(call.key)
        begun = asyncio.get_running_loop().time()
        request = await self._parse_and_check(call, raw)
        await asyncio.sleep(asyncio.get_running_loop().time() - begun)
        call.large_permit.release_after_idle()
        return request

    async def _parse_and_check(self, call: ServerCall, raw: bytes) -> Any:
        """Parse a request, check its tenant, wait for a permit to run, and check its fields."""
        request = self._parsed(raw)
        tenant_of = self._method.tenant_of
        if tenant_of is not None:
            check_tenant(call, tenant_of(request))
        key = call.tenant_id or call.key
        self._count(call, self._limit, key)
        running = self._interceptor.running
        call.permit = running.acquire_now(key) or await running.acquire(key)
        check_fields(request, len(raw))
        return request

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._parse(raw)
        except DecodeError:
            raise RequestInvalid("the request is not a well-formed message") from None

    async def _messages(
        self, call: ServerCall, first: Any, raws: AsyncIterator[bytes]
    ) -> AsyncIterator[Any]:
        yield first
        tenant_of = self._method.tenant_of
        async for raw in raws:
            size = len(raw)
            call.bytes_in += size
            if size > self._max_request_bytes:
                del raw
                raise RequestTooLarge(f"{size} bytes are more than {self._max_request_bytes}")
            request = self._parsed(raw)
            if tenant_of is not None and tenant_of(request) not in ("", call.tenant_id):
                raise RequestInvalid("a later message of the stream names another tenant")
            check_fields(request, size)
            yield request

    def _serialized(self, call: ServerCall, response: Any) -> bytes:
        raw = response if isinstance(response, bytes) else self._serialize(response)
        call.bytes_out += len(raw)
        return raw

    async def _fail(
        self, error: BaseException, call: ServerCall, context: Context, request: object
    ) -> None:
        """Send the caller the error and raise, unless they cancelled or the handler has aborted."""
        self._interceptor.first_message.stop(call)
        self._interceptor.blocked_write.stop(call)
        if isinstance(error, grpc.aio.AbortError):
            self._end(call, code_name(context))
            return
        failure = error_for_caller(error, call, request)
        if failure is None:
            late = call.deadline is not None and time.monotonic() >= call.deadline
            self._end(call, "DEADLINE_EXCEEDED" if late else "CANCELLED")
            return
        code, message, details = status.encode(failure, self._method.domain)
        call.reason = failure.reason
        self._end(call, code.name)
        if self._request_streaming or not call.first_message_read:
            await drain_request(
                context,
                self._interceptor.draining,
                self._interceptor.receiving,
                call.key,
                first_message_read=call.first_message_read,
            )
        trailers = [("x-request-id", call.request_id), (status.DETAILS_KEY, details)]
        if not failure.retry_at_once:
            trailers.append(("grpc-retry-pushback-ms", "-1"))
        await context.abort(code, message, tuple(trailers))

    def _end(self, call: ServerCall, code: str) -> None:
        self._timeouts.stop(call)
        call.end(code)
        self._uncount(call)
        if call.permit is not None:
            call.permit.release()
        if call.large_permit is not None:
            call.large_permit.release()
        self._metrics.end(call.seconds, code, call.trace_id)
        self._interceptor.log.add(call)
        if call.span is not None:
            end_span(call.span, call)


def _behaviour(method: Method, handler: Handler) -> Callable[[Any, Context], Any]:
    """Return the servicer's own method. Raises TypeError for what is no coroutine or generator."""
    unary = handler.stream_unary or handler.unary_unary
    streaming = handler.stream_stream or handler.unary_stream
    if streaming is not None and not inspect.isasyncgenfunction(streaming):
        raise TypeError(f"the servicer's method for {method.path} is no async generator function")
    if unary is not None and not inspect.iscoroutinefunction(unary):
        raise TypeError(f"the servicer's method for {method.path} is no coroutine function")
    behaviour: Any = unary or streaming
    return behaviour
