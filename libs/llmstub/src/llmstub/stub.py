"""The stub as an object: in a process of its own or inside a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp import web

from llmstub import script as scripts
from llmstub.call_log import CallLog
from llmstub.control_api import ControlApi
from llmstub.held_calls import HeldCalls
from llmstub.provider_api import ProviderApi
from llmstub.script import Script
from llmstub.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from llmstub.call_log import Call
    from llmstub.domain import JsonObject

_LARGEST_REQUEST = 64 * 1024 * 1024  # bytes
_BACKLOG = 1024
_SHUTDOWN_SECONDS = 0.2  # open calls are cut then, and logged as stopped


class LlmStub:
    """Serves from `async with` on; raises OSError when the address is taken or the call log cannot
    be opened, and RequestRefused when the script file is wrong."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._script = Script()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        settings = self._settings
        if settings.script_file is not None:
            self._script.add(scripts.read_file(settings.script_file))
        self._held_calls = HeldCalls()
        self._log = CallLog(settings.calls_file)
        self._provider_api = ProviderApi(settings, self._log, self._script, self._held_calls)
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.add_routes(ControlApi(self._log, self._script, self._held_calls).routes())
        app.router.add_route("*", "/{path:.*}", self._provider_api.handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,  # a client that leaves is noticed at once
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, settings.host, settings.port, backlog=_BACKLOG).start()
        except OSError:
            await self._stop()
            raise
        port = cast("int", self._runner.addresses[0][1])
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    def calls(self, matches: Callable[[Call], bool] | None = None) -> list[Call]:
        """Return the calls so far, oldest first."""
        return self._log.select(matches)

    async def wait_for_calls(
        self, count: int, matches: Callable[[Call], bool] = lambda call: True
    ) -> list[Call]:
        """Wait until so many calls meet a condition."""
        return await self._log.wait_for(count, matches)

    def script(self, rules: Sequence[JsonObject]) -> list[str]:
        """Add rules to the script and return their names. Raises RequestRefused."""
        return self._script.add(list(rules))

    def fired(self, rule: str) -> int:
        """Return how often a rule has fired."""
        return self._script.fired(rule)

    def clear_script(self) -> None:
        self._script.remove()

    async def release(self, rule: str | None = None, count: int = 1) -> None:
        """Wait until so many calls are held, and let them go on."""
        await self._held_calls.wait_until_held(count, rule)
        self._held_calls.release(rule, count)

    async def _stop(self) -> None:
        self._provider_api.is_closing = True
        if self._runner is not None:
            await self._runner.cleanup()
        self._log.close()
