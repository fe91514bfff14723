"""A TCP proxy that stops carrying without closing, as a cut cable does."""

from __future__ import annotations

import asyncio
import socket


class Wire:
    """A TCP proxy that can stop carrying without closing, as a cut cable does."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)  # noqa: FBT003 - the name of its method says it
        self._sockets = [self._listener]
        self._tasks: list[asyncio.Task[None]] = []
        self._cut = False
        self.carried = asyncio.Event()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    async def __aenter__(self) -> Wire:
        self._tasks.append(asyncio.create_task(self._accept()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for open_socket in self._sockets:
            open_socket.close()

    async def cut(self) -> None:
        """Carry nothing any more, and take no new connections."""
        self._cut = True
        self._tasks[0].cancel()
        await asyncio.wait(self._tasks[:1])
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            far = socket.create_connection(self._target)
            far.setblocking(False)  # noqa: FBT003 - the name of its method says it
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._tasks.append(asyncio.create_task(self._carry(source, sink)))

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        loop, carried = asyncio.get_running_loop(), 0
        while data := await loop.sock_recv(source, 1 << 16):
            if not self._cut:
                await loop.sock_sendall(sink, data)
                carried += len(data)
            if carried > 300:  # more than the greeting: a call is under way
                self.carried.set()
