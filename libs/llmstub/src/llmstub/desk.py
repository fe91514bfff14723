"""Where calls come in: each is read, answered in mind, matched with the script and logged."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from llmstub import faults
from llmstub.calls import Begin
from llmstub.domain import Answer, Refused
from llmstub.exchange import Exchange, Task
from llmstub.fields import Fields
from llmstub.formats.wire_format import dumps
from llmstub.paths import route
from llmstub.replies.composer import compose, draw
from llmstub.replies.told_schemas import schema_in
from llmstub.script import Seen

if TYPE_CHECKING:
    from llmstub.calls import CallLog
    from llmstub.domain import Ask
    from llmstub.gate import Gate
    from llmstub.paths import Route
    from llmstub.script import Rule, Script
    from llmstub.settings import Settings

_IDEMPOTENCY_HEADER = "x-nagaya-call"


class Desk:
    def __init__(self, settings: Settings, log: CallLog, script: Script, gate: Gate) -> None:
        self._settings = settings
        self._log = log
        self._script = script
        self._gate = gate
        self.is_closing = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call. Every call is logged, refused ones and unknown paths too."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = None
        seq, task = self._take(request, body)
        exchange = Exchange(task, request, self._gate, log_bodies=self._settings.log_bodies)
        try:
            return await exchange.run()
        finally:
            self._log.end(seq, exchange.end("stopped" if self.is_closing else "client_gone"))

    def _take(self, request: web.Request, body: bytes | None) -> tuple[int, Task]:
        """Decide everything about a call and log that it has begun, in one go."""
        found = route(request.path)
        call_id = secrets.token_hex(12)
        reading = _Reading(request, found, self._settings)
        refusal = None
        try:
            reading.read(body)
        except Refused as refused:
            refusal = refused.problem
        ask = reading.ask
        answer, rule = None, None
        if refusal is None and ask is not None and found.kind == "generate":
            rule = self._script.fire(_seen(request, found, ask))
            try:
                answer = self._answer(call_id, found, reading, ask, rule)
            except Refused as refused:
                refusal = refused.problem
        counted = dumps(found.counted(ask)).encode() if ask and found.counted else None
        random = draw(self._settings.seed, found.format.provider, "latency", reading.body)
        latency = rule.latency if rule and rule.latency else self._settings.latency.drawn(random)
        request_id = f"req_{call_id}"
        begin = Begin(
            provider=found.provider,
            path=request.path,
            kind=found.kind,
            model=ask.model if ask else reading.model,
            stream=bool(ask and ask.stream),
            body_digest=hashlib.sha256(body or b"").hexdigest(),
            idempotency=request.headers.get(_IDEMPOTENCY_HEADER),
            request_id=request_id,
            rule=rule.name if rule else None,
            prompt=ask.prompt if ask and self._settings.log_bodies else None,
        )
        task = Task(found.format, request_id, answer, counted, refusal, rule, latency)
        return self._log.begin(begin), task

    def _answer(
        self, call_id: str, found: Route, reading: _Reading, ask: Ask, rule: Rule | None
    ) -> Answer:
        provider = found.format.provider
        random = draw(self._settings.seed, provider, ask.model, reading.body)
        reply = compose(ask, random, faults.shape_of(rule.action if rule else None))
        return Answer(call_id, int(time.time()), ask, reply)


class _Reading:
    """A request as far as it could be read before it was refused."""

    def __init__(self, request: web.Request, found: Route, settings: Settings) -> None:
        self._request = request
        self._route = found
        self._keys = settings.keys
        self.body: dict[str, object] = {}
        self.ask: Ask | None = None

    @property
    def model(self) -> str:
        """The model that is asked for, as far as the body says so."""
        model = self.body.get("model")
        return model if isinstance(model, str) else ""

    def read(self, body: bytes | None) -> None:
        """Read a request. Raises Refused."""
        request, form = self._request, self._route.format
        if self._route.kind == "unknown":
            raise Refused(404, f"Not found: {request.method} {request.path}")
        if request.method != "POST":
            raise Refused(405, f"Method not allowed: {request.method} {request.path}")
        if body is None:
            raise Refused(413, "The request is larger than the stub reads.")
        key = form.key(request.headers, request.query)
        if not key or (self._keys and key not in self._keys):
            raise form.key_refused(key)
        try:
            value: object = json.loads(body)
        except ValueError as error:
            raise Refused(400, f"The body is no JSON: {error}") from error
        fields = Fields(value)
        self.body = fields.raw
        ask = form.ask(fields, request.headers, request.query)
        self.ask = ask if ask.schema else replace(ask, schema=schema_in(ask.prompt))


def _seen(request: web.Request, found: Route, ask: Ask) -> Seen:
    return Seen(
        found.format.provider,
        ask.model,
        ask.prompt,
        request.headers.get(_IDEMPOTENCY_HEADER, ""),
        ask.stream,
        request.path,
    )
