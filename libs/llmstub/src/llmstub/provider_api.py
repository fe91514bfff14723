"""The HTTP endpoints of the providers: each call is read, matched with the script and logged."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from llmstub import faults
from llmstub.call_log import CallBegin
from llmstub.domain import Answer, RequestRefused
from llmstub.formats.wire_format import dumps
from llmstub.json_fields import JsonFields
from llmstub.paths import route
from llmstub.replies.composer import compose, seeded_random
from llmstub.replies.schema_hints import schema_in
from llmstub.responder import PlannedResponse, Responder
from llmstub.script import CallAttributes

if TYPE_CHECKING:
    from llmstub.call_log import CallLog
    from llmstub.domain import GenerationRequest
    from llmstub.held_calls import HeldCalls
    from llmstub.paths import Route
    from llmstub.script import Rule, Script
    from llmstub.settings import Settings

_IDEMPOTENCY_HEADER = "x-nagaya-call"


class ProviderApi:
    """The handler of every path that is not the stub's own."""

    def __init__(
        self, settings: Settings, log: CallLog, script: Script, held_calls: HeldCalls
    ) -> None:
        self._settings = settings
        self._log = log
        self._script = script
        self._held_calls = held_calls
        self.is_closing = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call. Every call is logged, refused ones and unknown paths too."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = None
        seq, plan = self._plan_response(request, body)
        responder = Responder(plan, request, self._held_calls, log_bodies=self._settings.log_bodies)
        try:
            return await responder.run()
        finally:
            self._log.end(seq, responder.end("stopped" if self.is_closing else "client_gone"))

    def _plan_response(
        self, request: web.Request, body: bytes | None
    ) -> tuple[int, PlannedResponse]:
        """Decide the whole response of a call, log its beginning, and return its number."""
        found = route(request.path)
        call_id = secrets.token_hex(12)
        reader = _RequestReader(request, found, self._settings)
        refusal = None
        try:
            reader.read(body)
        except RequestRefused as refused:
            refusal = refused.api_error
        generation = reader.generation
        answer, rule = None, None
        if refusal is None and generation is not None and found.kind == "generate":
            rule = self._script.fire(_attributes(request, found, generation))
            try:
                answer = self._answer(call_id, found, reader, generation, rule)
            except RequestRefused as refused:
                refusal = refused.api_error
        counted = (
            dumps(found.counted(generation)).encode() if generation and found.counted else None
        )
        random = seeded_random(self._settings.seed, found.format.provider, "latency", reader.body)
        latency = rule.latency if rule and rule.latency else self._settings.latency.drawn(random)
        request_id = f"req_{call_id}"
        begin = CallBegin(
            provider=found.provider,
            path=request.path,
            kind=found.kind,
            model=generation.model if generation else reader.model,
            stream=bool(generation and generation.stream),
            body_digest=hashlib.sha256(body or b"").hexdigest(),
            idempotency=request.headers.get(_IDEMPOTENCY_HEADER),
            request_id=request_id,
            rule=rule.name if rule else None,
            prompt=generation.prompt if generation and self._settings.log_bodies else None,
        )
        plan = PlannedResponse(found.format, request_id, answer, counted, refusal, rule, latency)
        return self._log.begin(begin), plan

    def _answer(
        self,
        call_id: str,
        found: Route,
        reader: _RequestReader,
        generation: GenerationRequest,
        rule: Rule | None,
    ) -> Answer:
        provider = found.format.provider
        random = seeded_random(self._settings.seed, provider, generation.model, reader.body)
        reply = compose(generation, random, faults.overrides_of(rule.action if rule else None))
        return Answer(call_id, int(time.time()), generation, reply)


class _RequestReader:
    """A request as far as it could be read before it was refused."""

    def __init__(self, request: web.Request, found: Route, settings: Settings) -> None:
        self._request = request
        self._route = found
        self._keys = settings.keys
        self.body: dict[str, object] = {}
        self.generation: GenerationRequest | None = None

    @property
    def model(self) -> str:
        """The model that the body names, or an empty string."""
        model = self.body.get("model")
        return model if isinstance(model, str) else ""

    def read(self, body: bytes | None) -> None:
        """Read a request. Raises RequestRefused."""
        request, form = self._request, self._route.format
        if self._route.kind == "unknown":
            raise RequestRefused(404, f"Not found: {request.method} {request.path}")
        if request.method != "POST":
            raise RequestRefused(405, f"Method not allowed: {request.method} {request.path}")
        if body is None:
            raise RequestRefused(413, "The request is larger than the stub reads.")
        key = form.key(request.headers, request.query)
        if not key or (self._keys and key not in self._keys):
            raise form.key_refused(key)
        try:
            value: object = json.loads(body)
        except ValueError as error:
            raise RequestRefused(400, f"The body is no JSON: {error}") from error
        fields = JsonFields(value)
        self.body = fields.raw
        generation = form.read_request(fields, request.headers, request.query)
        if not generation.schema:  # of prose and of any JSON object, the prompt may say more
            generation = replace(
                generation, schema=schema_in(generation.prompt) or generation.schema
            )
        self.generation = generation


def _attributes(
    request: web.Request, found: Route, generation: GenerationRequest
) -> CallAttributes:
    return CallAttributes(
        found.format.provider,
        generation.model,
        generation.prompt,
        request.headers.get(_IDEMPOTENCY_HEADER, ""),
        generation.stream,
        request.path,
    )
