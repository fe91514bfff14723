"""A process of the tenant service that runs operations, and is killed at one point."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tenant.composition import compose

if TYPE_CHECKING:
    from tenant.config import Config


async def run_until_killed(config: Config, point: str) -> None:
    """Run such a process until it is dead; return then.

    `point` is a step of an operation, at whose end it dies before that is recorded, or
    `module:function`, at whose call it dies.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_main, args=(config, point))
    process.start()
    await asyncio.to_thread(process.join, 60)
    code = process.exitcode
    process.kill()
    assert code == -signal.SIGKILL, f"it did not come to {point}: {code}"


def _main(config: Config, point: str) -> None:
    module, _, name = point.rpartition(":")
    step = "" if module else point
    holder: Any = importlib.import_module(module or "tenant.store.operation_runs")
    *classes, function = (name if module else "record_step").split(".")
    for inner in classes:
        holder = getattr(holder, inner)
    original = getattr(holder, function)

    async def die(*arguments: object, **others: object) -> object:
        if not step or step in arguments:
            os.kill(os.getpid(), signal.SIGKILL)
        return await original(*arguments, **others)

    with patch.object(holder, function, die):
        asyncio.run(_run(config))


async def _run(config: Config) -> None:
    async with compose(config) as service:
        await service.startup.run()
        service.runner.start()
        await asyncio.Event().wait()
