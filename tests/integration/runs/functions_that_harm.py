"""A distribution of functions that do to their process what functions may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '''
import asyncio
import ctypes
import os
import signal
import sys
import threading
import time

from nagaya_functions import StepError

kept = []
blocking = []


async def echo(context):
    return context.arguments["value"]


async def process(context):
    return os.getpid()


async def environment(context):
    return dict(os.environ)


async def meet(context):
    """Wait until so many calls are in this process, then return its id."""
    kept.append(context.item)
    while len(kept) < context.arguments["count"]:
        await asyncio.sleep(0.01)
    return os.getpid()


async def tell(context):
    """Say that it is there, then wait for a file."""
    note(context)
    while not os.path.exists(context.arguments["until"]):
        await asyncio.sleep(0.01)
    return os.getpid()


async def exits(context):
    note(context)
    await asyncio.sleep(context.arguments.get("after", 0))
    sys.stdout.write("half a word of ")
    print(context.arguments.get("last_words", ""), file=sys.stderr)
    sys.stdout.flush()
    os._exit(3)


async def killed(context):
    os.kill(os.getpid(), signal.SIGKILL)


async def crashes(context):
    ctypes.string_at(0)


async def leaves(context):
    sys.exit(1)


async def task_leaves(context):
    async def leave():
        sys.exit(1)

    task = asyncio.create_task(leave())
    await asyncio.sleep(60)


async def blocks(context):
    note(context)
    until = context.arguments.get("until")
    for _ in range(6000):
        if until and os.path.exists(until):
            break
        time.sleep(0.1)
    return "done"


async def eats(context):
    note(context)
    await asyncio.sleep(context.arguments.get("after", 0))
    while True:
        kept.append(bytearray(8 << 20))


async def deaf(context):
    note(context)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass


async def sleeps(context):
    note(context)
    try:
        await asyncio.sleep(context.arguments.get("seconds", 600))
    except asyncio.CancelledError:
        note(context, "cancelled")
        raise
    return os.getpid()


async def fails(context):
    raise ValueError(context.arguments["text"])


async def refuses(context):
    raise StepError("NO_SUCH_CUSTOMER", "there is no such customer", retryable=False)


async def not_json(context):
    return {1, 2}


async def cyclic(context):
    value = []
    value.append(value)
    return value


async def too_large(context):
    return "x" * (3 << 20)


async def measured(context):
    return {"score": 7, "text": "x"}


def synchronous(context):
    return 1


async def yields(context):
    yield 1


async def copies(context):
    """Read a value, stream a file, write another, and leave a second stream in the middle."""
    value = await context.read(context.element)
    size = 0
    async for piece in context.stream(context.element):
        size += len(piece)
    async for piece in context.stream(context.element):
        break
    file = await context.write("copy.txt", b"copied", "text/plain")
    return {"value": value, "size": size, "path": file.path, "digest": file.digest}


async def reads(context):
    return await context.read(context.element)


async def reads_many(context):
    values = await asyncio.gather(*(context.read(context.element) for _ in range(100)))
    return len(values)


async def opens_many(context):
    """Begin to read so many files, and leave all of them in the middle at once."""
    streams = [context.stream(context.element) for _ in range(context.arguments["count"])]
    begun = await asyncio.gather(*(anext(one) for one in streams), return_exceptions=True)
    if "minds" in context.arguments:
        raise next(one for one in begun if isinstance(one, Exception))
    await asyncio.gather(*(one.aclose() for one in streams))
    return sorted({type(one).__name__ for one in begun})


async def gives_up_streaming(context):
    """Stop waiting for the first piece of a file, and leave it, so many times."""
    for _ in range(context.arguments["count"]):
        stream = context.stream(context.element)
        waiting = asyncio.create_task(anext(stream))
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await stream.aclose()


async def forks(context):
    """Fork: both come back from this function, the child first."""
    child = os.fork()
    if child == 0:
        return "child"
    await asyncio.to_thread(os.waitpid, child, 0)
    return "parent"


async def forks_and_exits(context):
    if os.fork() == 0:
        time.sleep(600)
    os._exit(3)


async def gives_up_reading(context):
    try:
        await context.read(context.element)
    except Exception as error:
        return type(error).__name__
    return None


async def shouts(context):
    sys.stdout.write("x" * 1_000_000)
    sys.stderr.write("y" * 1_000_000)
    return sys.stdin.read()


def note(context, word="began"):
    if "note" in context.arguments:
        with open(context.arguments["note"], "a") as file:
            file.write(f"{word} {os.getpid()}\\n")
'''

SLOW_MODULE = """
import os
import time

with open("{note}", "a") as file:
    file.write(f"began {{os.getpid()}}\\n")
while not os.path.exists("{until}"):
    time.sleep(0.01)


async def process(context):
    return os.getpid()
"""


def install(folder: Path) -> None:
    """Write the module into a folder that is to be on the path of the functions' processes."""
    (folder / "functions_of_acme.py").write_text(MODULE)
    (folder / "functions_unusable.py").write_text("raise RuntimeError('it needs a licence')\n")
