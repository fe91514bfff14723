"""`python -m llmstub`: serve until a signal; the first line on stdout says where."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

from llmstub.domain import RequestRefused
from llmstub.settings import Settings, parse
from llmstub.stub import LlmStub

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    settings = parse()
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        try:
            runner.run(_serve(settings))
        except RequestRefused as refused:
            return _failed(f"the script is wrong: {refused}")
        except OSError as error:
            return _failed(f"cannot serve on {settings.host}:{settings.port}: {error}")
    return 0


async def _serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with LlmStub(settings) as stub:
        sys.stdout.write(json.dumps({"event": "listening", "url": stub.url}) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where uvloop is installed; the stub needs only aiohttp."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


def _failed(message: str) -> int:
    sys.stderr.write(f"llmstub: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
