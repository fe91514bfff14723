"""A DNS server of its own, whose names change their addresses when a test says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

_HEADER = struct.Struct(">HHHHHH")
_ANSWERED = 0x8580  # a response, authoritative, recursion desired and available
_UNKNOWN_NAME = 3
_A, _IN = 1, 1
_POINTER_TO_NAME = b"\xc0\x0c"


class DnsServer(asyncio.DatagramProtocol):
    """Answers for IPv4 addresses by UDP on 127.0.0.1; of every other type a name has none."""

    def __init__(self) -> None:
        self.names: dict[str, Sequence[str]] = {}
        self.port = 0
        self.queries = 0
        """For IPv4 addresses."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(self._answer(data), addr)

    def _answer(self, query: bytes) -> bytes:
        labels: list[str] = []
        at = _HEADER.size
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        question = query[_HEADER.size : at + 5]
        kind = int.from_bytes(query[at + 1 : at + 3])
        known = self.names.get(".".join(labels))
        found = [*(known or ())] if kind == _A else []
        self.queries += kind == _A
        code = _ANSWERED | (0 if known is not None else _UNKNOWN_NAME)
        answers = b"".join(
            _POINTER_TO_NAME + struct.pack(">HHIH", _A, _IN, 0, 4) + socket.inet_aton(address)
            for address in found
        )
        return _HEADER.pack(_id(query), code, 1, len(found), 0, 0) + question + answers


def _id(query: bytes) -> int:
    return int.from_bytes(query[:2])


@asynccontextmanager
async def running_dns_server() -> AsyncGenerator[DnsServer]:
    """Run a server on a free port for the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(DnsServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
