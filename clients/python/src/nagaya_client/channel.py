"""Channels whose calls carry a token, have a deadline, and raise ApiError."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from nagaya_client import contract, statuses
from nagaya_client.errors import SettingsInvalid
from tls.address import ServerAddress
from tls.config import ClientTls
from tls.credentials import Connection, was_cut_off

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from google.protobuf.descriptor import ServiceDescriptor

    from nagaya_client.settings import Settings

    Writer = Callable[[Message], bytes]
    Reader = Callable[[bytes], Message]
    Metadata = Iterable[tuple[str, str | bytes]]

Stub = TypeVar("Stub")

_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else 60 s, and the line above counts for nothing
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_send_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),  # below the pause between two of a restart
    ("grpc.enable_retries", 1),
    ("grpc.per_rpc_retry_buffer_size", 16 << 20),  # else a request of 256 KiB is sent once only
    # Of a name with several addresses: else a rolling deployment outruns what is known of it.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
]
_FILES = "NAGAYA_CA_FILE, NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE name files in PEM."


class Channel:
    """A connection to one service, on which its generated stub makes its calls."""

    def __init__(self, address: str, service: ServiceDescriptor, settings: Settings) -> None:
        """Raises SettingsInvalid when a file of certificates cannot be used."""
        self._settings = settings
        self._seconds = contract.seconds_by_path(service)
        try:
            tls = ClientTls(settings.ca_file, settings.certificate)
            self._address = ServerAddress.parse(address, tls)
            config = contract.service_config(service, balanced=self._address.balanced)
            options = [*_OPTIONS, ("grpc.service_config", config)]
            self._inner = Connection(self._address, options)
        except ValueError as error:
            raise SettingsInvalid(f"{address} cannot be called: {error}", _FILES) from None

    def stub(self, make: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        """Return a generated stub. Its calls are awaited or iterated, and nothing else."""
        return make(cast("grpc.aio.Channel", self))  # it asks for the four methods below only

    async def close(self) -> None:
        await self._inner.close()

    def unary_unary(
        self, path: str, request_serializer: Writer, response_deserializer: Reader, **_: object
    ) -> UnaryCall:
        call = self._inner.call("unary_unary", path, request_serializer, response_deserializer)
        return UnaryCall(call, self._method(path))

    def stream_unary(
        self, path: str, request_serializer: Writer, response_deserializer: Reader, **_: object
    ) -> UnaryCall:
        call = self._inner.call("stream_unary", path, request_serializer, response_deserializer)
        return UnaryCall(call, self._method(path))

    def unary_stream(
        self, path: str, request_serializer: Writer, response_deserializer: Reader, **_: object
    ) -> StreamCall:
        call = self._inner.call("unary_stream", path, request_serializer, response_deserializer)
        return StreamCall(call, self._method(path))

    def stream_stream(
        self, path: str, request_serializer: Writer, response_deserializer: Reader, **_: object
    ) -> StreamCall:
        call = self._inner.call("stream_stream", path, request_serializer, response_deserializer)
        return StreamCall(call, self._method(path))

    def _method(self, path: str) -> Method:
        return Method(self._address, self._seconds[path], self._settings)


class Method:
    """How one method is called."""

    def __init__(self, address: ServerAddress, max_seconds: float, settings: Settings) -> None:
        self.address = address
        self._max_seconds = max_seconds
        self._settings = settings

    def seconds(self, own: float | None) -> float:
        """How long a call may take that is waited for."""
        limits = (own, self._settings.timeout_seconds, self._max_seconds)
        return next(limit for limit in limits if limit is not None)

    def stream_seconds(self, own: float | None) -> float:
        """How long a stream may last."""
        return self._max_seconds if own is None else own

    async def metadata(self, request_id: str, own: Metadata) -> grpc.aio.Metadata:
        token = await self._settings.token.read()
        return grpc.aio.Metadata(
            ("authorization", f"Bearer {token}"), ("x-request-id", request_id), *own
        )


class UnaryCall:
    """A method with one response."""

    def __init__(self, call: Callable[..., Awaitable[Message]], method: Method) -> None:
        self._call = call
        self._method = method

    async def __call__(
        self,
        request: Message | AsyncIterable[Message],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the name that gRPC's own stubs have
        metadata: Metadata = (),
    ) -> Message:
        """Call and wait for the response. Raises ApiError."""
        if isinstance(request, Message):
            request = _with_request_id(request)
        request_id = str(uuid.uuid4())
        seconds = self._method.seconds(timeout)
        sent = await self._method.metadata(request_id, metadata)
        try:
            return await self._call(request, timeout=seconds, metadata=sent)
        except grpc.aio.AioRpcError as error:
            raise statuses.decode(error, self._method.address, request_id) from None
        except asyncio.CancelledError:
            if not was_cut_off():
                raise
            raise statuses.cut_off(self._method.address, request_id) from None


def _with_request_id(request: Message) -> Message:
    """Give a creation the key that makes it one and the same when it is sent again."""
    key = request.DESCRIPTOR.fields_by_name.get("request_id")
    if key is None or getattr(request, key.name):
        return request
    filled = type(request)()
    filled.CopyFrom(request)  # the caller's own may be sent as another call
    setattr(filled, key.name, str(uuid.uuid4()))
    return filled


class StreamCall:
    """A method with a stream of responses."""

    def __init__(self, call: Callable[..., Stream], method: Method) -> None:
        self._call = call
        self._method = method

    def __call__(
        self,
        request: Message | AsyncIterable[Message],
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Responses:
        """Call, and return the responses."""
        request_id = str(uuid.uuid4())
        seconds = self._method.stream_seconds(timeout)

        async def call() -> Stream:
            sent = await self._method.metadata(request_id, metadata)
            return self._call(request, timeout=seconds, metadata=sent)

        return Responses(asyncio.ensure_future(call()), self._method.address, request_id)


class Responses:
    """The responses of one call, in order. Iterating raises ApiError; `cancel` ends it early."""

    def __init__(
        self, begun: asyncio.Future[Stream], address: ServerAddress, request_id: str
    ) -> None:
        self._begun = begun
        self._address = address
        self._request_id = request_id
        self._is_cancelled = False

    async def __aiter__(self) -> AsyncIterator[Message]:
        call = await self._begun
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise statuses.decode(error, self._address, self._request_id) from None
        except asyncio.CancelledError:
            if self._is_cancelled or not was_cut_off():
                raise
            raise statuses.cut_off(self._address, self._request_id) from None

    def cancel(self) -> bool:
        self._is_cancelled = True
        if not self._begun.done():
            return self._begun.cancel()
        if self._begun.cancelled() or self._begun.exception() is not None:
            return False
        return self._begun.result().cancel()


class Stream(Protocol):
    """A call of gRPC's own with a stream of responses."""

    def __aiter__(self) -> AsyncIterator[Message]: ...
    def cancel(self) -> bool: ...
