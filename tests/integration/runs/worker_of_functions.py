"""A worker that does one function, until it is killed: `NAME NOTE`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.function_host import FunctionHost

from runs.config import FunctionConfig
from runs.worker.function_host.pool import FunctionPool


async def main(name: str, note: str) -> None:
    pool = FunctionPool(FunctionConfig(1, 256, 600.0, dict(os.environ)), 100)
    async with pool.running():
        await FunctionHost(pool, Path(note).parent).call(name, note=note)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
