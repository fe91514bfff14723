"""A real gRPC server, in a thread of its own, that answers as a test says."""

from __future__ import annotations

import asyncio
import inspect
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from google.protobuf.message import Message

Request = Any  # what there is in a request, a test knows
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID = "request-7"


@dataclass(frozen=True)
class Refusal(Exception):
    """What the server answers instead of a response."""

    code: grpc.StatusCode
    message: str = "no. Do something else."
    reason: str = "ERROR_REASON_TEST"
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_at_once: bool = True
    retry_after_ms: int = 0

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        details: list[Message] = []
        if self.reason:
            info = error_details_pb2.ErrorInfo(
                reason=self.reason, domain="test.nagaya.dev", metadata=self.metadata
            )
            details.append(info)
        if self.violations:
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field=f, description=d)
                        for f, d in self.violations
                    ]
                )
            )
        if self.retry_after_ms:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(self.retry_after_ms)
            details.append(retry)
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailers = (("grpc-status-details-bin", status.SerializeToString()),) if details else ()
        push_back = () if self.retry_at_once else (("grpc-retry-pushback-ms", "-1"),)
        return (("x-request-id", REQUEST_ID), *trailers, *push_back)


@dataclass(frozen=True)
class RecordedCall:
    """One call as it arrived; of a stream of requests, all of them."""

    method: str
    requests: list[Request]
    metadata: dict[str, str | bytes]
    seconds: float

    @property
    def request(self) -> Request:
        return self.requests[0]


class Api(grpc.GenericRpcHandler):
    """Answers methods by name: with a message, a list of messages, a Refusal, or what a function
    of the call makes of it. Each call is kept in `calls`.
    """

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self._answers: dict[str, Callable[[RecordedCall], object]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, method: str, answer: object) -> None:
        """Say what a method such as `GetRun` answers, or every one for `*`."""
        self._answers[method] = answer if callable(answer) else lambda _: answer

    def called(self, method: str) -> list[RecordedCall]:
        return [call for call in self.calls if call.method == method]

    def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        if not self._thread.is_alive():
            self._thread.start()
        self._await(self._serve(credentials))

    def stop(self) -> None:
        """End every connection; `start` serves on the same port again."""
        if self._server is not None:
            self._await(self._server.stop(0))
            self._server = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _await(self, awaitable: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(10)

    async def _serve(self, credentials: grpc.ServerCredentials | None) -> None:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        where = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, credentials)
        await self._server.start()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Request, object]:
        path: str = handler_call_details.method
        service, _, name = path.lstrip("/").partition("/")
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
        read = message_factory.GetMessageClass(method.input_type).FromString
        shape = (method.client_streaming, method.server_streaming)
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
        }[shape]

        async def unary(request: Request, context: Context) -> object:
            return await self._unary(name, request, context)

        async def stream(request: Request, context: Context) -> AsyncIterator[object]:
            async for response in self._stream(name, request, context):
                yield response

        behaviour = stream if method.server_streaming else unary
        return make(behaviour, read, lambda message: message.SerializeToString())

    async def _record(self, name: str, request: Request, context: Context) -> object:
        streamed = hasattr(request, "__aiter__")
        requests = [one async for one in request] if streamed else [request]
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        call = RecordedCall(name, requests, metadata, context.time_remaining() or 0.0)
        self.calls.append(call)
        answer = self._answers.get(name) or self._answers["*"]
        answered = answer(call)
        return await answered if inspect.isawaitable(answered) else answered

    async def _unary(self, name: str, request: Request, context: Context) -> object:
        answer = await self._record(name, request, context)
        if isinstance(answer, Refusal):
            await context.abort(answer.code, answer.message, answer.trailers())
        return answer

    async def _stream(self, name: str, request: Request, context: Context) -> AsyncIterator[object]:
        answer: Any = await self._record(name, request, context)
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, Refusal):
                await context.abort(part.code, part.message, part.trailers())
            if isinstance(part, threading.Event):
                await asyncio.to_thread(part.wait, 10)
                continue
            yield part
