"""What providers, and the proxies in front of them, also send, and what becomes of each."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.llm_gateway.reply_forms import CHAT_END, HI
from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES, event
from tests.support.scripted_provider import Close, Pause, Reply, Reset

if TYPE_CHECKING:
    from tests.support.gateway_client import Fields

JSON = "application/json"
STOP, CUT, REFUSAL = "FINISH_REASON_STOP", "FINISH_REASON_LENGTH", "FINISH_REASON_REFUSAL"
INVALID, INCOMPLETE, AWAY = "REPLY_INVALID", "REPLY_INCOMPLETE", "PROVIDER_UNAVAILABLE"
LIMITED, REFUSED, UNKNOWN = "PROVIDER_LIMITED", "PROVIDER_REFUSED", "CALL_OUTCOME_UNKNOWN"
HALF = CHAT.delta("half ")
PAGE = "<!doctype html><html><head><title>Sign in</title></head><body>Corporate proxy</body></html>"
JAPANESE = "青鷺が堰に立っていた。"


@dataclass(frozen=True)
class Odd:
    """A reply, and what becomes of it."""

    form: str
    reply: Reply
    outcome: str
    """The finish reason of the settled call, or the reason of the refusal."""
    text: str = HI
    words: str = ""
    """Stand in the refusal."""
    kept: str = ""
    """Stands in what the attempt keeps of the provider's words."""
    requests: int = 1
    output: int | None = None
    """Tokens of output that are booked for an attempt."""
    estimated: bool | None = None


def raw(head: str, *pieces: str | bytes) -> Reply:
    return Reply((head.replace("\n", "\r\n"), *pieces), raw=True)


def status(line: str, body: str = "", kind: str = JSON, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply((body,), line, kind, named)


def of(form: str, *pieces: Fields) -> Reply:
    return Reply(pieces)


PRETTY = json.dumps([GEMINI.value([{"text": JAPANESE}]), GEMINI.value([], "STOP")], indent=2,
                    ensure_ascii=False).encode()  # fmt: skip
CHAT_WHOLE = "".join(CHAT.whole(HI))
NO_END = f"HTTP/1.1 200 OK\ncontent-length: {len(CHAT_WHOLE) + 500}\n\n"

ODD: dict[str, Odd] = {
    # whole replies
    "claude: overloaded after the end": Odd("claude", of("claude", *CLAUDE.whole(HI)[:-1], event(
        {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "error")),
        STOP, output=5, estimated=False),
    "chat: OpenRouter's error after end and usage": Odd("chat", of("chat",
        CHAT.delta(HI), CHAT.ended("stop"), CHAT.used(), CHAT.error(code=502, message="x")),
        STOP, output=5, estimated=False),
    "chat: the end told twice, text between": Odd("chat", of("chat",
        CHAT.delta("hi "), CHAT.ended("stop"), CHAT.delta("there"), CHAT_END), STOP),
    "chat: the end told twice": Odd("chat", of("chat", CHAT.delta(HI), CHAT.ended("stop"),
        CHAT_END), STOP),
    "gemini: the end told twice, text between": Odd("gemini", of("gemini",
        GEMINI.chunk([{"text": "hi "}], "STOP"), GEMINI.chunk([{"text": "there"}], "STOP")), STOP),
    "claude: usage that shrinks": Odd("claude", of("claude", CLAUDE.began(), CLAUDE.delta(HI),
        CLAUDE.event("message_delta", delta={}, usage={"output_tokens": 50}), CLAUDE.ended(),
        CLAUDE.done()), STOP, output=50, estimated=False),
    "chat: vLLM's running usage": Odd("chat", of("chat", *(CHAT.chunk({"content": each}).replace(
        '"object"', f'"usage": {{"prompt_tokens": 10, "completion_tokens": {n}}}, "object"')
        for n, each in enumerate(("hi", " ", "there"), 1)), CHAT.ended("stop"), CHAT.used(10, 3),
        CHAT.done()), STOP, output=3, estimated=False),
    "chat: only a total": Odd("chat", of("chat", CHAT.delta(HI), CHAT.ended("stop"),
        event({"choices": [], "usage": {"total_tokens": 40}})), STOP, estimated=True),
    "gemini: a pretty list, cut in the middle of characters": Odd("gemini", Reply(
        tuple(PRETTY[n:n + 7] for n in range(0, len(PRETTY), 7)), content_type=JSON), STOP,
        text=JAPANESE),
    "chat: less than was announced, after the end": Odd("chat", raw(NO_END, CHAT_WHOLE), STOP),
    "chat: HTTP/1.0": Odd("chat", raw("HTTP/1.0 200 OK\n\n", CHAT_WHOLE), STOP),
    "chat: early hints": Odd("chat", raw(
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nlink: </x>\n\n"
        f"HTTP/1.1 200 OK\ncontent-length: {len(CHAT_WHOLE)}\n\n", CHAT_WHOLE), STOP),
    "chat: no reason phrase": Odd("chat", raw("HTTP/1.1 200\n\n", CHAT_WHOLE), STOP),
    "chat: lines that end in a carriage return": Odd("chat", Reply(
        (CHAT_WHOLE.replace("\n", "\r"),)), STOP),
    "chat: ids and times to reconnect": Odd("chat", Reply(
        ("retry: 3000\n\nid: 1\n" + CHAT_WHOLE.replace("\n\n", "\nid: 2\nretry: 1\n\n"),)), STOP),
    "chat: one event of 2 MB": Odd("chat", of("chat",
        CHAT.chunk({"content": "x" * 2_000_000}), CHAT_END), STOP, text="x" * 2_000_000),
    "chat: 60,000 deltas": Odd("chat", of("chat", CHAT.delta("four") * 60_000, CHAT_END), STOP,
                               text="four" * 60_000),
    "chat: 20,000 events without empty lines": Odd("chat", of("chat",
        *(CHAT.delta("four").replace("\n\n", "\n") * 10 for _ in range(2_000)), CHAT_END), STOP,
        text="four" * 20_000),
    "chat: gzip without its last bytes": Odd("chat", Reply((gzip.compress(
        CHAT_WHOLE.encode())[:-8],), headers={"content-encoding": "gzip"}), STOP),
    "chat: another model's name": Odd("chat", of("chat", *(each.replace(
        '"object"', '"model": "another-2026\\u0000", "object"') for each in CHAT.whole(HI))), STOP),
    "chat: an error that says nothing": Odd("chat", of("chat", *(each.replace(
        '"id"', '"error": {"code": null, "message": "", "type": null}, "id"')
        for each in CHAT.whole(HI)[:-1])), STOP),
    "chat: an end that is an empty word": Odd("chat", of("chat",
        CHAT.chunk({"content": "hi "}, ""), CHAT.chunk({"content": "there"}, ""), CHAT_END), STOP),
    "chat: chunks of nothing": Odd("chat", of("chat", event({"id": "chat-1", "choices": None}),
        event({"id": "chat-1", "choices": [None]}), event({"choices": [{"delta": None}]}),
        event({"usage": []}), CHAT_WHOLE), STOP),
    "chat: Azure's filter results after the end": Odd("chat", of("chat", CHAT.delta(HI),
        CHAT.ended("stop"), event({"id": "", "choices": [{"index": 0, "finish_reason": None,
        "content_filter_offsets": {"end_offset": 9}, "content_filter_results": {}}]}),
        CHAT.used(), CHAT.done()), STOP),
    "chat: empty lines, then JSON": Odd("chat", Reply(("\n\n", "\n", "\r\n\n",
        json.dumps(CHAT.unstreamed(HI))), content_type=JSON), STOP),
    "claude: blocks that nobody knows": Odd("claude", of("claude", CLAUDE.began(), CLAUDE.event(
        "content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
        CLAUDE.delta(HI), CLAUDE.event("content_block_delta", index=1,
        delta={"type": "citations_delta", "citation": {}}), CLAUDE.ended(), CLAUDE.done()), STOP),
    "gemini: the prompt's tokens first, the reply's last": Odd("gemini", of("gemini",
        event({"usageMetadata": {"promptTokenCount": 10}, "candidates": [
            {"content": {"parts": [{"text": HI}]}}]}),
        event({"usageMetadata": {"candidatesTokenCount": 7}, "candidates": [
            {"finishReason": "STOP"}]})), STOP, output=7, estimated=False),
    # no whole replies
    "gemini: blocked after some text": Odd("gemini", of("gemini", GEMINI.delta("half"),
        event({"promptFeedback": {"blockReason": "OTHER"}})), REFUSAL, text="half"),
    "gemini: counters and nothing else": Odd("gemini", of("gemini",
        event({"usageMetadata": {"promptTokenCount": 10}})), INVALID),
    "gemini: the limit used up by thoughts": Odd("gemini", of("gemini", event({
        "usageMetadata": {"promptTokenCount": 10, "thoughtsTokenCount": 90},
        "candidates": [{"finishReason": "MAX_TOKENS"}]})), "FINISH_REASON_TRUNCATED_BY_REASONING",
        text="", estimated=False),
    "responses: reasoning and nothing else": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.ended(output=[{"type": "reasoning", "summary": []}])), "REPLY_EMPTY", output=5),
    "responses: cut, and no usage": Odd("responses", of("responses", RESPONSES.delta("half"),
        RESPONSES.ended("incomplete", usage=None,
                        incomplete_details={"reason": "max_output_tokens"})), CUT, text="half",
        output=1, estimated=True),
    "responses: a delta lost in the middle": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.delta("hi "), RESPONSES.delta("there"), RESPONSES.ended(output=[
            {"type": "message", "content": [{"type": "output_text", "text": "hi over there"}]}])),
        INVALID, output=5, estimated=False),
    "responses: the first deltas lost": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.delta("there"), RESPONSES.ended(output=[
            {"type": "message", "content": [{"type": "output_text", "text": HI}]}])), INVALID),
    "responses: space that the end leaves out": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.delta("\n\n"), RESPONSES.delta(HI), RESPONSES.ended(output=[
            {"type": "message", "content": [{"type": "output_text", "text": HI}]}])), STOP,
        text="\n\n" + HI),
    "chat: a delta lost, the message whole": Odd("chat", of("chat", CHAT.delta("hi "),
        CHAT.delta("there"), event({"id": "chat-1", "choices": [{"index": 0,
        "finish_reason": "stop", "message": {"content": "hi over there"}}]})), INVALID),
    "responses: still under way": Odd("responses", Reply.of_json(
        {"object": "response", "status": "in_progress", "output": []}), INVALID),
    "claude: no reason to stop": Odd("claude", of("claude", CLAUDE.began(), CLAUDE.delta("half"),
        CLAUDE.done()), INVALID, estimated=True),
    "chat: the mark of the end only": Odd("chat", of("chat", HALF, CHAT.done()), INVALID),
    "chat: half an event in the middle": Odd("chat", of("chat", HALF, 'data: {"id": "ch\n\n',
        CHAT.delta("more"), CHAT_END), INVALID),
    "chat: numbers for events": Odd("chat", of("chat", "data: 123\n\n", CHAT_WHOLE), INVALID),
    "chat: text and a tool call, ended by stop": Odd("chat", of("chat", CHAT.chunk(
        {"content": HI, "tool_calls": [{"index": 0, "function": {"name": "f"}}]}), CHAT_END),
        INCOMPLETE),
    "an empty body": Odd("claude", Reply(()), INVALID, estimated=True),
    "status 204": Odd("claude", raw("HTTP/1.1 204 No Content\n\n"), INVALID),
    "chat: told as gzip, and is not": Odd("chat", Reply((CHAT_WHOLE,),
        headers={"content-encoding": "gzip"}), UNKNOWN),
    "chat: two lengths": Odd("chat", raw(
        "HTTP/1.1 200 OK\ncontent-length: 5\ncontent-length: 9\n\n", CHAT_WHOLE), UNKNOWN),
    # a page of a proxy's
    "a page to sign in": Odd("claude", Reply((PAGE,), content_type="text/html"), REFUSED,
        words="check its api_base_url", kept="Sign in", output=0),
    "a page to sign in, called a stream": Odd("gemini", Reply(("\n " + PAGE,)), REFUSED,
        words="check its api_base_url", output=0),
    "a redirect to a page": Odd("chat", status("302 Found", PAGE, "text/html",
        location="http://127.0.0.1:9/login"), REFUSED, words="redirects"),
    "a redirect of the request": Odd("chat", status("307 Temporary Redirect",
        location="http://127.0.0.1:9/v1/chat/completions"), REFUSED, words="redirects"),
    "a proxy that wants a password": Odd("chat", status(
        "407 Proxy Authentication Required", PAGE, "text/html"), REFUSED, words="proxy"),
    "overloaded, as a page": Odd("claude", status("529 Overloaded", PAGE, "text/html"), AWAY,
        requests=3, kept="Sign in"),
    "Envoy's words": Odd("chat", status("503 Service Unavailable", "upstream connect error or"
        " disconnect/reset before headers", "text/plain"), AWAY, requests=3,
        kept="upstream connect error"),
    # whose fate nobody knows
    "a proxy that waited too long": Odd("chat", status("504 Gateway Time-out", PAGE, "text/html"),
        UNKNOWN, kept="Sign in", estimated=True),
    "a proxy that waited too long, without a word": Odd("claude", status("504 Gateway Timeout"),
        UNKNOWN),
    "Cloudflare that waited too long": Odd("gemini", status("524 ", "error code: 524",
        "text/plain"), UNKNOWN, kept="error code: 524"),
    "a provider's own timeout": Odd("gemini", status("504 Gateway Timeout", json.dumps({"error": {
        "code": 504, "status": "DEADLINE_EXCEEDED", "message": "m"}})), AWAY, requests=3),
    "a reset before the body": Odd("chat", Reply((Reset(),)), UNKNOWN),
    "closed without an answer": Odd("chat", Reply(before=(Close(),)), UNKNOWN),
    # errors
    "chat: an error in pieces": Odd("chat", Reply(
        ('{"error": {"code": "insuffi', Pause(0.3), 'cient_quota", "message": "m"}}'),
        "429 Too Many Requests", JSON), LIMITED, words="credit or spend limit"),
    "chat: an error that never ends": Odd("chat", Reply(
        ('{"error": {"code": "insufficient_quota"}}', Pause(30)), "429 Too Many Requests", JSON),
        LIMITED, words="credit or spend limit"),
    "chat: an error in its choice": Odd("chat", Reply.of_json({"id": "x", "choices": [{
        "index": 0, "finish_reason": "error", "message": {"content": "half"},
        "error": {"code": 402, "message": "m"}}]}), LIMITED, words="credit or spend limit"),
    "chat: vLLM's older errors": Odd("chat", of("chat", event({"object": "error", "code": 400,
        "message": "This model's maximum context length is 4096 tokens", "type":
        "BadRequestError"}), CHAT.done()), REFUSED, words="the prompt is too long"),
    "chat: an error that is no event": Odd("chat", of("chat", HALF,
        '{"error": {"message": "m", "code": 429}}\n\n'), LIMITED, requests=3),
    "chat: LiteLLM's number as text": Odd("chat", of("chat", HALF, event({"error": {
        "message": "m", "type": "None", "param": "None", "code": "429"}})), LIMITED, requests=3),
    "FastAPI's list of what is wrong": Odd("chat", status("422 Unprocessable Entity", json.dumps(
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Input should be a valid integer",
                     "type": "int_parsing", "input": "a"}]})), REFUSED,
        words="body.max_tokens", kept="Input should be a valid integer"),
    "chat: not to be tried again": Odd("chat", status("429 Too Many Requests", "{}",
        x_should_retry="false"), LIMITED),
    "chat: in two minutes": Odd("chat", status("500 Failed", "{}", retry_after="120"), AWAY),
    "chat: in two minutes, behind a shorter wait": Odd("chat", raw("HTTP/1.1 429 Too Many\n"
        "retry-after: 1\nretry-after: 120\ncontent-length: 2\n\n", "{}"), LIMITED),
    "chat: at a time that has been": Odd("chat", status("503 Unavailable", "{}",
        retry_after="Mon, 01 Jan 2024 00:00:00 GMT"), AWAY, requests=3),
    "chat: a status that nobody knows": Odd("chat", status("999 Denied", "{}"), AWAY, requests=3),
    "gemini: waits that cannot be": Odd("gemini", status("429 Too Many", json.dumps({"error": {
        "code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "1e300s"}]}})),
        LIMITED),
    "gemini: a key that is none, told as a bad request": Odd("gemini", status("400 Bad Request",
        json.dumps({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
        "API key not valid. Please pass a valid API key.", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}})),
        REFUSED, words="the provider refuses the key"),
}  # fmt: skip
