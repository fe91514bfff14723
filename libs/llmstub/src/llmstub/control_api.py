"""The stub's own endpoints: health, the calls, the script, and the release of held calls."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from llmstub.domain import RequestRefused
from llmstub.json_fields import JsonFields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from llmstub.call_log import Call, CallLog
    from llmstub.held_calls import HeldCalls
    from llmstub.script import Script

_FILTERS = (
    "provider", "path", "kind", "model", "body_digest", "idempotency", "request_id", "rule",
    "outcome", "fault",
)  # fmt: skip
_NUMBERS = ("after", "limit", "at_least", "wait_ms")
_LONGEST_WAIT_MS = 60_000

_T = TypeVar("_T")


class ControlApi:
    """The handlers of the stub's own paths."""

    def __init__(self, log: CallLog, script: Script, held_calls: HeldCalls) -> None:
        self._log = log
        self._script = script
        self._held_calls = held_calls

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._health),
            web.get("/stub/calls", _refusing(self._calls)),
            web.get("/stub/script", self._state),
            web.post("/stub/script", _refusing(self._add)),
            web.delete("/stub/script", _refusing(self._remove)),
            web.post("/stub/release", _refusing(self._release)),
        ]

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def _calls(self, request: web.Request) -> web.StreamResponse:
        """Return the calls that meet the filters; `at_least` and `wait_ms` wait for so many."""
        query = request.query
        numbers = {name: _number(query, name) for name in _NUMBERS}
        matches = _matcher(query, numbers["after"] or 0)
        found = await _within(
            self._log.wait_for(numbers["at_least"] or 0, matches), numbers["wait_ms"]
        )
        calls = self._log.select(matches) if found is None else found
        records = [call.record() for call in calls[: numbers["limit"]]]
        return web.json_response({"calls": records, "count": len(calls)})

    async def _state(self, request: web.Request) -> web.StreamResponse:
        rules = [
            rule | {"held": self._held_calls.held(str(rule["name"]))}
            for rule in self._script.state()
        ]
        return web.json_response({"rules": rules})

    async def _add(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"added": self._script.add(await _json(request))})

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"removed": self._script.remove(request.query.get("name"))})

    async def _release(self, request: web.Request) -> web.StreamResponse:
        """Release held calls; `wait_ms` waits until `count` of them, or one, are held."""
        body = JsonFields(await _json(request) if request.can_read_body else {})
        rule, count = body.text("rule"), body.integer("count", 1)
        wait = body.integer("wait_ms")
        if wait:
            await _within(self._held_calls.wait_until_held(count or 1, rule), wait)
        return web.json_response({"released": self._held_calls.release(rule, count)})


def _refusing(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestRefused as refused:
            return web.json_response(
                {"error": refused.api_error.message}, status=refused.api_error.status
            )

    return answer


def _matcher(query: Mapping[str, str], after: int) -> Callable[[Call], bool]:
    wanted = {name: value for name, value in query.items() if name not in _NUMBERS}
    unknown = [name for name in wanted if name not in _FILTERS]
    if unknown:
        known = ", ".join((*_FILTERS, *_NUMBERS))
        raise RequestRefused(400, f"{unknown[0]}: no such filter; known are {known}")

    def matches(call: Call) -> bool:
        record = call.record()
        return call.seq > after and all(record[name] == wanted[name] for name in wanted)

    return matches


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is not None and not text.isdigit():
        raise RequestRefused(400, f"{name}: expected a number")
    return None if text is None else int(text)


async def _within(waiting: Awaitable[_T], milliseconds: int | None) -> _T | None:
    try:
        return await asyncio.wait_for(waiting, min(milliseconds or 0, _LONGEST_WAIT_MS) / 1000)
    except TimeoutError:
        return None


async def _json(request: web.Request) -> object:
    try:
        value: object = json.loads(await request.read())
    except ValueError as error:
        raise RequestRefused(400, f"the body is no JSON: {error}") from error
    return value
