"""A pool of processes for functions, and what it is called with."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integration.runs.functions_that_harm import SLOW_MODULE, install

from nagaya_functions import FilePointer
from nagaya_functions.calls import FunctionContext
from runs.config import FunctionConfig
from runs.worker.function_host.call import FunctionCall
from runs.worker.function_host.pool import FunctionPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from jsonvalues import JsonMapping, JsonValue

ELEMENT = FilePointer("storage/acme/r/s/output.json", "0" * 64, "/0")


@dataclass
class MemoryFiles:
    """The files of a step, in memory: every read and every stream gives the same."""

    written: dict[str, bytes] = field(default_factory=dict[str, bytes])
    refusal: Exception | None = None
    at_once: int = 0
    most_at_once: int = 0
    left: int = 0

    async def read(self, file: FilePointer) -> bytes:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if self.refusal is not None:
            raise self.refusal
        return json.dumps([file.path, file.digest, file.json_pointer]).encode()

    async def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        try:
            for _ in range(3):
                await asyncio.sleep(0.001)
                yield b"x" * (1 << 20)
        finally:
            self.left += 1

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        self.written[name] = data
        return FilePointer(f"storage/acme/r/s/{name}", "1" * 64)


@dataclass
class FunctionHost:
    """A pool, and a folder for what functions note."""

    pool: FunctionPool
    folder: Path
    files: MemoryFiles = field(default_factory=MemoryFiles)

    async def call(
        self, name: str, tenant_id: str = "acme", limit: float = 60.0, **arguments: JsonValue
    ) -> Any:  # noqa: ANN401 - whatever a function returns
        return json.loads((await self.result(name, tenant_id, limit, **arguments)).data)

    async def result(
        self, name: str, tenant_id: str = "acme", limit: float = 60.0, **arguments: JsonValue
    ) -> Any:  # noqa: ANN401 - as above
        metrics = {"score": "/score"} if name == "measured" else {}
        context = self.context(arguments, tenant_id)
        entry_point = name if ":" in name else f"functions_of_acme:{name}"
        call = FunctionCall(entry_point, context, metrics)
        return await self.pool.call(call, limit)

    def context(self, arguments: JsonMapping, tenant_id: str = "acme") -> FunctionContext:
        return FunctionContext(
            tenant_id=tenant_id,
            run_id="r",
            step="s",
            item=0,
            visit=1,
            arguments=arguments,
            outputs={"input": (ELEMENT,)},
            mapped_steps=frozenset(),
            element=ELEMENT,
            files=self.files,
        )

    def install_slow(self, module: str) -> tuple[Path, Path]:
        """Install a module with the function `process`; return two files.

        Its import writes the first one, and ends once there is the second one.
        """
        note, until = self.folder / f"{module}.note", self.folder / f"{module}.until"
        (self.folder / f"{module}.py").write_text(SLOW_MODULE.format(note=note, until=until))
        return note, until

    def begin(
        self, name: str, tenant_id: str = "acme", **arguments: JsonValue
    ) -> asyncio.Task[Any]:
        """Call a function that notes when it has begun."""
        return asyncio.create_task(self.call(name, tenant_id, 60.0, **arguments))


@asynccontextmanager
async def running_function_host(
    folder: Path,
    processes: int = 16,
    memory_mib: int = 256,
    seconds: float = 600.0,
    share: int = 75,
) -> AsyncGenerator[FunctionHost]:
    install(folder)
    variables = {**os.environ, "PYTHONPATH": str(folder)}
    pool = FunctionPool(FunctionConfig(processes, memory_mib, seconds, variables), share)
    async with pool.running():
        yield FunctionHost(pool, folder)
