"""TLS in front of a server that speaks plaintext, as managed ones often have it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tls.files import KeyPair

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # how a client of PostgreSQL begins
_START_SECONDS = 10.0


class TlsProxy:
    """Ends TLS and passes bytes on to a port of this machine; plaintext is refused.

    With `postgres` it answers PostgreSQL's request for TLS first, and with `client_ca_file` clients
    must have a certificate. It listens on a free port unless `listen` names one. `connections`
    counts the handshakes that came to an end.
    """

    def __init__(
        self,
        port: int,
        own: KeyPair,
        *,
        postgres: bool = False,
        protocols: tuple[str, ...] = (),
        client_ca_file: Path | None = None,
        listen: int = 0,
    ) -> None:
        self._target = port
        self._postgres = postgres
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(own.cert_file, own.key_file)
        if protocols:
            self._context.set_alpn_protocols(list(protocols))
        if client_ca_file is not None:
            self._context.load_verify_locations(client_ca_file)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self.port = listen
        self.connections = 0

    @contextmanager
    def running(self) -> Generator[TlsProxy]:
        """Serve in a thread until the block ends."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        tls = None if self._postgres else self._context
        serving = asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(_START_SECONDS)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result(_START_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self._postgres:
                if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                    return
                writer.write(b"S")
                await writer.start_tls(self._context)
            self.connections += 1
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(to_writer)
            await asyncio.gather(_pass(reader, to_writer), _pass(to_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in writers:
                one.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # lets the transports close
