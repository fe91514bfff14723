"""gRPC credentials of servers and channels, from files that are read again when they change."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import grpc

from tls.files import Reread, read_authorities, read_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tls.address import ServerAddress
    from tls.config import ClientTls, ServerTls

_RECHECK_SECONDS = 1.0
_OLD_CALLS_SECONDS = 3600.0


class ServerCredentials:
    """The credentials of a server; each handshake uses the files as they are then.

    Raises CertificateInvalid when they cannot be used from the start.
    """

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        files = [tls.own.cert_file, tls.own.key_file]
        files += [tls.client_ca_file] if tls.client_ca_file is not None else []
        self._files = Reread(files, self._read)

    def make(self) -> grpc.ServerCredentials:
        fetch: Any = self._fetch  # which may return None, whatever the stub says
        with_clients = self._tls.client_ca_file is not None
        return grpc.dynamic_ssl_server_credentials(self._files.value[0], fetch, with_clients)

    def expiry(self) -> float:
        """Return when the certificate expires that was read last, in seconds since 1970."""
        return self._files.value[1].timestamp()

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed; gRPC asks before each handshake, in a thread of its own."""
        return self._files.value[0] if self._files.refresh() else None

    def _read(self) -> tuple[grpc.ServerCertificateConfiguration, datetime]:
        own, authorities = read_certificate(self._tls.own), self._tls.client_ca_file
        configuration = grpc.ssl_server_certificate_configuration(
            [(own.key, own.chain)], None if authorities is None else read_authorities(authorities)
        )
        return configuration, own.expires


class Connection:
    """The gRPC channel to a server; another one once the files of its TLS have changed.

    Calls that go on over the former one have an hour to end, and are then cut off: see
    `was_cut_off`. Raises CertificateInvalid when the files cannot be used from the start.
    """

    def __init__(self, address: ServerAddress, options: Sequence[tuple[str, Any]]) -> None:
        self._target = address.target
        self._options = list(options)
        tls = address.tls
        if tls is not None and tls.server_name:
            self._options.append(("grpc.ssl_target_name_override", tls.server_name))
        self._files = None if tls is None else Reread(tls.files, lambda: _credentials(tls))
        self._recheck_at = time.monotonic() + _RECHECK_SECONDS
        self._former: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        self._channel = self._open()
        self._calls: WeakSet[Any] = WeakSet()  # of the current channel, not of the former ones

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call. The files are looked at once a second at most."""
        if self._files is not None and time.monotonic() >= self._recheck_at:
            self._recheck_at = time.monotonic() + _RECHECK_SECONDS
            if self._files.refresh():
                former, self._channel = self._channel, self._open()
                calls, self._calls = self._calls, WeakSet()
                closing = asyncio.create_task(_close_after(former, calls))
                self._former[former] = closing
                closing.add_done_callback(lambda _: self._former.pop(former, None))
        return self._channel

    def call(self, shape: str, path: str, *codecs: object, **options: object) -> Callable[..., Any]:
        """Return what calls a method; `shape` is that of gRPC's channel, such as `unary_unary`."""
        channel = self._channel
        call = getattr(channel, shape)(path, *codecs, **options)
        if self._files is None:
            return call

        def current(*arguments: object, **given: object) -> Any:  # noqa: ANN401 - gRPC's
            nonlocal channel, call
            if channel is not (now := self.current()):
                channel, call = now, getattr(now, shape)(path, *codecs, **options)
            made = call(*arguments, **given)
            self._calls.add(made)
            made.add_done_callback(self._calls.discard)
            return made

        return current

    async def close(self, grace: float | None = None) -> None:
        """End every connection."""
        former = dict(self._former)
        for closing in former.values():
            closing.cancel()
        await asyncio.gather(*former.values(), return_exceptions=True)
        for channel in (*former, self._channel):
            await channel.close(grace)

    def _open(self) -> grpc.aio.Channel:
        if self._files is None:
            return grpc.aio.insecure_channel(self._target, self._options)
        return grpc.aio.secure_channel(self._target, self._files.value, self._options)


def was_cut_off() -> bool:
    """Return whether a call that has just raised CancelledError was cut off on this side.

    gRPC raises it to whoever waits for a call whose channel is closed, too, or whose requests
    cannot be made. Nobody has cancelled the task then.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def open_channel(address: ServerAddress, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
    """Open a channel for threads, which does not live long. Raises CertificateInvalid."""
    if address.tls is None:
        return grpc.insecure_channel(address.target, options)
    return grpc.secure_channel(address.target, _credentials(address.tls), options)


async def _close_after(channel: grpc.aio.Channel, calls: WeakSet[Any]) -> None:
    """Close a channel once its calls have ended, or had their time.

    It is not closed with a grace: until that is over, nothing else could close it.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_OLD_CALLS_SECONDS):
            await asyncio.gather(*(call.code() for call in calls), return_exceptions=True)
    await channel.close()


def _credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    authorities = read_authorities(tls.ca_file)
    if tls.own is None:
        return grpc.ssl_channel_credentials(authorities)
    own = read_certificate(tls.own)
    return grpc.ssl_channel_credentials(authorities, own.key, own.chain)
