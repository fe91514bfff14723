"""Functions for `function` steps, installed beside the worker as a customer installs theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODULE = '''
import asyncio

_failures = {}


async def explode(context):
    raise ValueError("the secret is " + str(context.arguments.get("secret")))


async def flaky(context):
    """Fail as often as it is told, for each run."""
    seen = _failures[context.work.run_id] = _failures.get(context.work.run_id, 0) + 1
    if seen <= context.arguments["failures"]:
        raise RuntimeError("not yet")
    return seen


async def endless(context):
    await asyncio.Event().wait()


async def double(context):
    return 2 * await context.read(context.element)


async def numbers(context):
    return list(range(context.arguments["count"]))
'''

_FUNCTIONS = ("explode", "flaky", "endless", "double", "numbers")


def install_functions(folder: Path) -> None:
    """Write a distribution into a folder that is to be on the worker's path."""
    (folder / "house_functions.py").write_text(_MODULE)
    about = folder / "house_functions-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: house-functions\nVersion: 1.0\n")
    lines = (f"test.{name} = house_functions:{name}\n" for name in _FUNCTIONS)
    (about / "entry_points.txt").write_text("[nagaya.functions]\n" + "".join(lines))
