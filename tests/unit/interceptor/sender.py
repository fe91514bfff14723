"""Sends one caller's 100 large requests at once, from a process of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 100


async def send(address: str, method: str, token: str, compression: str, size: int) -> None:
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(address) as channel:
        call: Callable[..., Any] = channel.unary_unary(method)
        algorithm = grpc.Compression[compression]
        body = b"a" * size
        calls = [call(body, metadata=metadata, compression=algorithm) for _ in range(CALLS)]
        for code in await asyncio.gather(*(each.code() for each in calls)):
            assert code is not grpc.StatusCode.OK


if __name__ == "__main__":
    to, rpc, bearer, algorithm_name, length = sys.argv[1:]
    asyncio.run(send(to, rpc, bearer, algorithm_name, int(length)))
