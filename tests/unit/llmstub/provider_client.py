"""Calls to a stub over a real socket, in the four formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import aiohttp

Json: TypeAlias = Any  # what a test looks into

KEYS = {
    "claude": {"x-api-key": "sk-canary-key", "anthropic-version": "2026-10-21"},
    "openai": {"Authorization": "Bearer sk-canary-key"},
    "gemini": {"x-goog-api-key": "sk-canary-key"},
}
PROMPT = (
    "Write a short text about rain gardens in small cities, with storm water and native plants."
)

FORMATS = ("claude", "responses", "chat", "gemini")


@dataclass(frozen=True)
class Response:
    """A response as the client saw it: one body, or the data of its events."""

    status: int
    headers: dict[str, str]
    raw: bytes
    events: list[Json]

    @property
    def body(self) -> Json:
        return json.loads(self.raw)


class ProviderClient:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def post(
        self, path: str, provider: str, body: Json, headers: dict[str, str] | None = None
    ) -> Response:
        sent = KEYS.get(provider, {}) | (headers or {})
        data = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.post(self.url + path, data=data, headers=sent) as response:
            raw = await response.read()
            received = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status, received, raw, events_of(raw))

    async def generate(self, form: str, prompt: str = PROMPT, **options: Json) -> Response:
        path, provider, body = request(form, prompt, **options)
        return await self.post(path, provider, body, options.get("headers"))


def request(form: str, prompt: str = PROMPT, **options: Json) -> tuple[str, str, Json]:
    """Return path, provider and body of one and the same request in a format."""
    limit, schema, stream = (
        options.get("limit"),
        options.get("schema"),
        options.get("stream", False),
    )
    more = options.get("more", {})
    body: dict[str, Json] = {}
    if form == "claude":
        body = {"model": "claude-sonnet-5-5", "max_tokens": limit or 4096, "stream": stream}
        body["messages"] = [{"role": "user", "content": prompt}]
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return "/v1/messages", "claude", body | more
    if form == "responses":
        body = {"model": "gpt-6.2-sol", "input": prompt, "stream": stream}
        body |= {"max_output_tokens": limit} if limit else {}
        if schema is not None:
            form_of_text = {"type": "json_schema", "name": "reply", "schema": schema}
            body["text"] = {"format": form_of_text}
        return "/v1/responses", "openai", body | more
    if form == "chat":
        body = {"model": "gpt-6.2-sol", "messages": [{"role": "user", "content": prompt}]}
        body |= {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        body |= {"max_completion_tokens": limit} if limit else {}
        if schema is not None:
            inner = {"name": "reply", "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": inner}
        return "/v1/chat/completions", "openai", body | more
    config: dict[str, Json] = {"maxOutputTokens": limit} if limit else {}
    if schema is not None:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": schema}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config}
    return f"/v1beta/models/gemini-3.8-flash:{method}", "gemini", body | more


def text_of(form: str, response: Response) -> str:
    """Return the visible text of a reply, put together as a client does."""
    if response.events:
        return "".join(_piece(form, event) for event in response.events)
    body = response.body
    if form == "claude":
        return "".join(block["text"] for block in body["content"] if block["type"] == "text")
    if form == "responses":
        messages = [item for item in body["output"] if item["type"] == "message"]
        return "".join(part["text"] for item in messages for part in item["content"])
    if form == "chat":
        return body["choices"][0]["message"]["content"]
    return _gemini_text(body)


def finish_of(form: str, response: Response) -> str:
    """Return the word that a client reads the end of a reply from."""
    if form == "claude":
        ends = [e["delta"] for e in response.events if e["type"] == "message_delta"]
        return (ends[-1] if ends else response.body)["stop_reason"]
    if form == "responses":
        body = response.events[-1]["response"] if response.events else response.body
        details = body["incomplete_details"]
        return details["reason"] if details else body["status"]
    if form == "chat":
        bodies = [e for e in response.events if e != "[DONE]"] or [response.body]
        return next(c["finish_reason"] for b in bodies for c in b["choices"] if c["finish_reason"])
    bodies = response.events or [response.body]
    return bodies[-1]["candidates"][0]["finishReason"]


def usage_of(form: str, response: Response) -> dict[str, int]:
    """Return all input, all output and reasoning tokens, read in the format's way."""
    events = [event for event in response.events if event != "[DONE]"]
    if form == "claude":
        used = dict(events[0]["message"]["usage"] if events else response.body["usage"])
        for event in events:
            used |= event.get("usage") or {}
        whole = used["input_tokens"] + used["cache_read_input_tokens"]
        whole += used["cache_creation_input_tokens"]
        thinking = used["output_tokens_details"]["thinking_tokens"]
        return {"input": whole, "output": used["output_tokens"], "reasoning": thinking}
    if form == "responses":
        used = events[-1]["response"]["usage"] if events else response.body["usage"]
        reasoning = used["output_tokens_details"]["reasoning_tokens"]
        whole, output = used["input_tokens"], used["output_tokens"]
        return {"input": whole, "output": output, "reasoning": reasoning}
    if form == "chat":
        used = next(e["usage"] for e in events or [response.body] if e.get("usage"))
        reasoning = used["completion_tokens_details"]["reasoning_tokens"]
        whole, output = used["prompt_tokens"], used["completion_tokens"]
        return {"input": whole, "output": output, "reasoning": reasoning}
    used = (events or [response.body])[-1]["usageMetadata"]
    thoughts = used["thoughtsTokenCount"]
    output = used["candidatesTokenCount"] + thoughts
    return {"input": used["promptTokenCount"], "output": output, "reasoning": thoughts}


def events_of(raw: bytes) -> list[Json]:
    text = raw.decode(errors="replace").replace("\r\n", "\n")
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else _loads(line) for line in lines]


def _loads(line: str) -> Json:
    try:
        return json.loads(line)
    except ValueError:
        return {"type": "broken", "line": line}


def _piece(form: str, event: Json) -> str:
    if form == "claude" and event["type"] == "content_block_delta":
        return event["delta"].get("text", "")
    if form == "responses" and event["type"] == "response.output_text.delta":
        return event["delta"]
    if form == "chat" and event != "[DONE]" and event.get("choices"):
        return event["choices"][0]["delta"].get("content") or ""
    return _gemini_text(event) if form == "gemini" else ""


def _gemini_text(body: Json) -> str:
    parts = body.get("candidates", [{}])[0].get("content", {}).get("parts", [])
    return "".join(part["text"] for part in parts if not part.get("thought"))
