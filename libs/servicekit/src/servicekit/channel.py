"""gRPC channels to other services: identity, deadlines, retries and errors of every call."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import grpc

from servicekit import status
from servicekit.call import current_call
from servicekit.errors import DeadlineExceeded, PeerUnavailable
from servicekit.policy import DEFAULT_SECONDS, methods_of
from tls.address import ServerAddress
from tls.credentials import Connection, was_cut_off

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from servicekit.identity import WorkloadSigner
    from servicekit.policy import Method

Q = TypeVar("Q")
R = TypeVar("R")

_MARGIN_SECONDS = 0.05
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # A server that stops answers CANCELLED to what it has not begun.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
# Enough for 500 calls in flight when a server dies; a peer that stays away is soon not retried.
_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}
OPTIONS = {
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,  # else 60 s, and the line above counts for nothing
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.max_receive_message_length": 16 << 20,
    "grpc.max_send_message_length": 16 << 20,
    "grpc.max_metadata_size": 16 << 10,
    "grpc.per_rpc_retry_buffer_size": 16 << 20,  # else a request of 256 KiB is sent once only
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,  # below the pause between two servers of a restart
    "grpc.dns_min_time_between_resolutions_ms": 1_000,  # else 30 s: a deployment is sooner done
}
_PUSH_BACK = {"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 64 << 10}


def open_channel(
    address: ServerAddress | str,
    signer: WorkloadSigner | None,
    token: str | None = None,
    *,
    streaming: bool = False,
    peer: str | None = None,
) -> grpc.aio.Channel:
    """Open a channel to a service; nothing is sent before the first call.

    Calls carry the signer's token for the tenant and person of the current call (or of
    `on_behalf_of`), or `token`. They end before the deadline of the current call, are retried where
    the contract says that this is harmless, and raise the kinds of servicekit.errors.

    `streaming` makes flow control stop the sender early when a reader is slow. `peer` is the name
    of the service in errors. Calls to an address that stands for several servers (`dns:///…`) are
    spread over those that are healthy.
    """

    def authorization() -> str | None:
        if token is not None or signer is None:
            return token
        call = current_call()
        return signer.token(call.tenant_id or None, call.user_id) if call else signer.token()

    options = OPTIONS | (_PUSH_BACK if streaming else {})
    where = ServerAddress.parse(address) if isinstance(address, str) else address
    channel = Channel(where, authorization, options, peer)
    return cast("grpc.aio.Channel", channel)


class Channel:
    """The part of grpc.aio.Channel that generated stubs use; calls raise DomainError.

    There is one connection for each service of the peer, because retry policies and health belong
    to a service. Unary calls are coroutines and streams are PeerStreams: less than gRPC's calls.
    """

    def __init__(
        self,
        address: ServerAddress,
        authorization: Callable[[], str | None],
        options: dict[str, int],
        peer: str | None,
    ) -> None:
        self._address = address
        self._authorization = authorization
        self._options = options
        self._peer = peer
        self._services: dict[str, tuple[Connection, dict[str, Method]]] = {}

    def unary_unary(self, path: str, *codecs: object, **options: object) -> Callable[..., Any]:
        return self._method("unary_unary", path, codecs, options).unary

    def unary_stream(self, path: str, *codecs: object, **options: object) -> Callable[..., Any]:
        return self._method("unary_stream", path, codecs, options).stream

    def stream_unary(self, path: str, *codecs: object, **options: object) -> Callable[..., Any]:
        return self._method("stream_unary", path, codecs, options).unary

    def stream_stream(self, path: str, *codecs: object, **options: object) -> Callable[..., Any]:
        return self._method("stream_stream", path, codecs, options).stream

    async def close(self, grace: float | None = None) -> None:
        for connection, _ in self._services.values():
            await connection.close(grace)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _method(
        self, shape: str, path: str, codecs: tuple[object, ...], options: dict[str, object]
    ) -> PeerMethod[Any, Any]:
        service, _, name = path[1:].partition("/")
        if service not in self._services:
            self._services[service] = self._connect(service)
        connection, methods = self._services[service]
        method = methods.get(name)
        seconds = DEFAULT_SECONDS if method is None else method.max_seconds
        peer = self._peer or (service if method is None else service.split(".")[-3])
        call = connection.call(shape, path, *codecs, **options)
        return PeerMethod(call, peer, seconds, self._authorization, self._address)

    def _connect(self, service: str) -> tuple[Connection, dict[str, Method]]:
        # Services that are not ours, such as health, have no policy.
        methods = methods_of(service) if service.startswith("nagaya.") else {}
        config = json.dumps(_service_config(service, methods, balanced=self._address.balanced))
        options = [*self._options.items(), ("grpc.service_config", config)]
        return Connection(self._address, options), methods


class PeerMethod(Generic[Q, R]):
    """One method of a peer; its calls carry a token, a deadline, the request id and the trace."""

    def __init__(
        self,
        call: Callable[..., Any],
        peer: str,
        max_seconds: float,
        authorization: Callable[[], str | None],
        address: ServerAddress,
    ) -> None:
        self._call = call
        self._peer = peer
        self._max_seconds = max_seconds
        self._authorization = authorization
        self._address = address

    async def unary(self, request: Q, **options: Any) -> R:  # noqa: ANN401 - gRPC's
        """Call, and wait for the one response. Raises DomainError."""
        try:
            return await self._call(request, **self._prepared(**options))
        except grpc.aio.AioRpcError as error:
            raise status.decode(error, self._peer, self._address) from None
        except asyncio.CancelledError:
            if not was_cut_off():
                raise
            raise _cut_off(self._peer) from None

    def stream(self, request: Q, **options: Any) -> PeerStream[R]:  # noqa: ANN401 - gRPC's
        """Call, and return the stream of responses."""
        call = self._call(request, **self._prepared(**options))
        return PeerStream(call, self._peer, self._address)

    def _prepared(
        self,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str]] = (),
        **options: object,
    ) -> dict[str, object]:
        """Return the options of a call: deadline and metadata. Raises DeadlineExceeded."""
        call = current_call()
        seconds = self._max_seconds if timeout is None else timeout
        left = call.remaining() if call is not None else None
        if left is not None and left <= _MARGIN_SECONDS:
            raise DeadlineExceeded(f"no time is left to call {self._peer}")
        if left is not None:
            seconds = min(seconds, left - _MARGIN_SECONDS)
        headers = list(metadata)
        token = self._authorization()
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        if call is not None and call.request_id:
            headers.append(("x-request-id", call.request_id))
        if call is not None and call.traceparent is not None:
            headers.append(("traceparent", call.traceparent))
        return {**options, "timeout": seconds, "metadata": headers}


class PeerStream(Generic[R]):
    """The responses of one call, in order. Iterating raises DomainError; `cancel` ends it early."""

    def __init__(
        self, call: grpc.aio.UnaryStreamCall[Any, R], peer: str, address: ServerAddress
    ) -> None:
        self._call = call
        self._peer = peer
        self._address = address
        self._is_cancelled = False

    async def __aiter__(self) -> AsyncIterator[R]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise status.decode(error, self._peer, self._address) from None
        except asyncio.CancelledError:
            if self._is_cancelled or not was_cut_off():
                raise
            raise _cut_off(self._peer) from None
        finally:
            self._call.cancel()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._call.cancel()


def _cut_off(peer: str) -> PeerUnavailable:
    return PeerUnavailable(f"a call to the service {peer} was cut off on this side", peer=peer)


def _service_config(
    service: str, methods: dict[str, Method], *, balanced: bool
) -> dict[str, object]:
    names = [
        {"service": service, "method": n} for n, method in methods.items() if method.repeatable
    ]
    config: dict[str, object] = {"retryThrottling": _THROTTLING}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRIES}]
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": service}
    return config
