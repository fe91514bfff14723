"""Functions for `function` steps, installed beside the worker as a customer installs theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODULE = '''
import asyncio
import json
import os
import secrets
import sys
import time

from nagaya_functions import StepError

_failures = {}


async def explode(context):
    secret = str(context.arguments.get("secret"))
    raise ValueError("the secret is " + secret * context.arguments.get("times", 1))


async def flaky(context):
    """Fail as often as it is told, for each run."""
    seen = _failures[context.run_id] = _failures.get(context.run_id, 0) + 1
    if seen <= context.arguments["failures"]:
        raise RuntimeError("not yet")
    return seen


async def endless(context):
    note(context, "began")
    try:
        await asyncio.Event().wait()
    finally:
        note(context, "ended")


async def exits(context):
    note(context, "began")
    print(context.arguments.get("last_words"))
    os._exit(3)


async def forks_and_exits(context):
    if os.fork() == 0:
        time.sleep(600)
    os._exit(3)


async def blocks(context):
    note(context, "began")
    time.sleep(600)


async def eats(context):
    eaten = []
    while True:
        eaten.append(bytearray(64 << 20))


async def deaf(context):
    note(context, "began")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass


async def waits(context):
    """Wait until a file is there."""
    note(context, "began")
    while not os.path.exists(context.arguments["until"]):
        await asyncio.sleep(0.01)
    return context.arguments


async def double(context):
    return 2 * await context.read(context.element)


async def picky(context):
    """Double an element, unless a file names it among those that are refused for now."""
    value = await context.read(context.element)
    with open(context.arguments["log"], "a") as log:
        log.write(f"{context.item}\\n")
    with open(context.arguments["refused"]) as file:
        if value in json.load(file):
            raise StepError("NOT_NOW", f"{value} is refused for now", retryable=False)
    return 2 * value


async def total(context):
    """Return the sum of what the step `of` has left."""
    files = context.outputs.get(context.arguments["of"], ())
    return sum([await context.read(file) for file in files])


async def number(context):
    return {"score": float(context.arguments["value"]), "ok": 1}


async def numbers(context):
    return list(range(context.arguments["count"]))


async def visits(context):
    """Return which visit it is, and of each step that it reads the visit that it found."""
    read = {}
    for step, pointers in context.outputs.items():
        value = await context.read(pointers[0])
        read[step] = value.get("visit", value) if isinstance(value, dict) else value
    return {"visit": context.visit, "read": read}


async def counted(context):
    """Record that it begins and ends, and what it read; return another value each time."""
    arguments = context.arguments
    token = secrets.token_hex(8)
    record(context, "began", token)
    read = {}
    for step, pointers in context.outputs.items():
        if step not in context.mapped_steps:
            read[step] = mark(await context.read(pointers[0]))
    await asyncio.sleep(arguments["seconds"])
    record(context, "ended", token, read=read)
    value = {"token": token, "item": context.item}
    return [value | {"number": n} for n in range(arguments["count"])] or value


def mark(value):
    """Return what tells a value of `counted`, or of a model, from another one."""
    first = value[0] if isinstance(value, list) else value
    return first["token"] if isinstance(first, dict) and "token" in first else str(first)[:200]


def record(context, word, token, **more):
    """Append a line in one write: it outlives the process, however that ends."""
    about = {"word": word, "time": time.time(), "worker": os.getppid(), "token": token}
    names = ("run_id", "step", "item", "visit")
    line = json.dumps(about | {name: getattr(context, name) for name in names} | more)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    file = os.open(context.arguments["log"], flags, 0o600)
    os.write(file, line.encode() + b"\\n")
    os.close(file)


def note(context, word):
    if "note" in context.arguments:
        with open(context.arguments["note"], "a") as file:
            file.write(f"{word} {os.getpid()}\\n")
'''

_FUNCTIONS = (
    *("explode", "flaky", "endless", "double", "total", "number", "numbers"),
    *("exits", "forks_and_exits", "blocks", "eats", "deaf", "waits", "counted", "visits", "picky"),
)


def install_functions(folder: Path) -> None:
    """Write a distribution into a new folder that is to be on the worker's path."""
    folder.mkdir()
    (folder / "installed_functions.py").write_text(_MODULE)
    about = folder / "installed_functions-1.0.dist-info"
    about.mkdir()
    metadata = "Metadata-Version: 2.1\nName: installed-functions\nVersion: 1.0\n"
    (about / "METADATA").write_text(metadata)
    lines = (f"test.{name} = installed_functions:{name}\n" for name in _FUNCTIONS)
    (about / "entry_points.txt").write_text("[nagaya.functions]\n" + "".join(lines))
