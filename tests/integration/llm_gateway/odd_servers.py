"""What servers that speak a provider's format for others add, leave out, and write otherwise."""

from __future__ import annotations

import gzip
import json

from tests.integration.llm_gateway.odd_replies import (
    AWAY,
    CHAT_WHOLE,
    HALF,
    INCOMPLETE,
    INVALID,
    JSON,
    LIMITED,
    PAGE,
    REFUSED,
    STOP,
    Odd,
    of,
    raw,
    status,
)
from tests.integration.llm_gateway.reply_forms import CHAT_END, HI
from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES, event
from tests.support.scripted_provider import Reply

OF_SERVERS: dict[str, Odd] = {
    "chat: a character in two halves": Odd("chat", of("chat", *(event({"id": "chat-1", "choices": [
        {"index": 0, "delta": {"content": half}, "finish_reason": None}]})
        for half in ("hi \ud83d", "\ude00")), CHAT_END), STOP, text="hi \U0001f600"),
    "chat: DeepSeek's reasoning before the text": Odd("chat", of("chat",
        CHAT.chunk({"reasoning_content": "hm", "content": None}), CHAT.delta(HI), CHAT_END), STOP),
    "chat: reasoning and nothing else": Odd("chat", of("chat",
        CHAT.chunk({"reasoning": "hm", "content": ""}), CHAT_END), "REPLY_EMPTY", output=5),
    "chat: Groq's usage": Odd("chat", of("chat", CHAT.delta(HI), event({"id": "chat-1",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "req",
        "usage": {"prompt_tokens": 10, "completion_tokens": 7}}}), CHAT.done()), STOP,
        output=7, estimated=False),
    "chat: Perplexity's sources": Odd("chat", of("chat", *(each.replace('"object"',
        '"citations": ["https://x"], "search_results": [{}], "object"')
        for each in CHAT.whole(HI))), STOP),
    "chat: an end that is the word null": Odd("chat", of("chat",
        CHAT.chunk({"content": "hi "}, "null"), CHAT.chunk({"content": "there"}, "null"),
        CHAT_END), STOP),
    "chat: an error by the name of its event": Odd("chat", of("chat", HALF, event(
        {"message": "m", "code": 429}, "error")), LIMITED, requests=3),
    "chat: text that is a number": Odd("chat", of("chat",
        CHAT.delta("hi "), CHAT.chunk({"content": 7}), CHAT_END), INVALID,
        estimated=True),
    "chat: a part whose text is an object": Odd("chat", of("chat", CHAT.delta("hi "), CHAT.chunk(
        {"content": [{"type": "text", "text": {"value": "there"}}]}), CHAT_END), INVALID),
    "claude: text that is a number": Odd("claude", of("claude", CLAUDE.began(), CLAUDE.delta("hi "),
        CLAUDE.event("content_block_delta", index=0, delta={"type": "text_delta", "text": 7}),
        CLAUDE.ended(), CLAUDE.done()), INVALID),
    "responses: text that is a list": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.delta("hi "), RESPONSES.event("response.output_text.delta", delta=["there"]),
        RESPONSES.ended()), INVALID),
    "gemini: text that is true": Odd("gemini", of("gemini", GEMINI.delta("hi "),
        GEMINI.chunk([{"text": True}]), GEMINI.ended()), INVALID),
    "chat: choices by number": Odd("chat", of("chat", event({"id": "chat-1", "choices": {"0": {
        "delta": {"content": HI}}}}), CHAT_END), "REPLY_EMPTY"),
    "claude: text without the start of its block": Odd("claude", of("claude", CLAUDE.began(),
        CLAUDE.event("content_block_delta", index=0, delta={"type": "text_delta", "text": HI}),
        CLAUDE.ended(), CLAUDE.done()), STOP),
    "claude: all usage at the end": Odd("claude", of("claude", CLAUDE.event("message_start",
        message={"id": "m", "type": "message", "role": "assistant", "content": []}),
        CLAUDE.delta(HI), CLAUDE.event("message_delta", delta={"stop_reason": "end_turn"},
        usage={"input_tokens": 10, "output_tokens": 9}), CLAUDE.done()), STOP,
        output=9, estimated=False),
    "claude: Bedrock's counts": Odd("claude", of("claude", *CLAUDE.whole(HI)[:-1],
        CLAUDE.event("message_stop", **{"amazon-bedrock-invocationMetrics": {
            "inputTokenCount": 10, "outputTokenCount": 5}})), STOP, output=5, estimated=False),
    "claude: text in two blocks, thinking between": Odd("claude", of("claude", CLAUDE.began(),
        CLAUDE.delta("hi "), CLAUDE.event("content_block_start", index=1,
        content_block={"type": "thinking", "thinking": ""}), CLAUDE.event("content_block_delta",
        index=1, delta={"type": "thinking_delta", "thinking": "hm"}),
        CLAUDE.event("content_block_stop", index=1), CLAUDE.delta("there"), CLAUDE.ended(),
        CLAUDE.done()), STOP),
    "claude: overloaded, told as a whole reply": Odd("claude", Reply.of_json({"type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"}}), AWAY, requests=3),
    "responses: text only when it is done": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.event("response.output_text.done", text=HI, output_index=0, content_index=0),
        RESPONSES.ended(output=[])), STOP),
    "responses: what is said on the way, and the answer": Odd("responses", of("responses",
        RESPONSES.began(), RESPONSES.ended(output=[{"type": "message", "phase": phase, "content": [
            {"type": "output_text", "text": text}]} for phase, text in (
            ("commentary", "hi "), ("final_answer", "there"))])), STOP),
    "responses: an error within an error": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.event("error", error={"type": "invalid_request_error",
        "code": "context_length_exceeded", "message": "too long"})), REFUSED,
        words="the prompt is too long"),
    "responses: noise beside the text": Odd("responses", of("responses", RESPONSES.began(),
        RESPONSES.event("response.output_text.delta", delta=HI, obfuscation="x9Qk",
        logprobs=[], sequence_number=4), RESPONSES.ended()), STOP),
    "gemini: code and its output beside the text": Odd("gemini", of("gemini", GEMINI.chunk([
        {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult":
        {"outcome": "OUTCOME_OK", "output": "1"}}, {"text": HI}]), GEMINI.ended()), INCOMPLETE),
    "gemini: only the prompt's tokens and a total": Odd("gemini", of("gemini", event({
        "candidates": [{"content": {"parts": [{"text": HI}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 17}})), STOP,
        output=7, estimated=False),
    "gemini: nothing before the text": Odd("gemini", of("gemini", event({"candidates": []}),
        event({"modelVersion": "x"}), *GEMINI.whole(HI)), STOP),
    "gemini: an error in a list": Odd("gemini", Reply.of_json([{"error": {"code": 429,
        "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}]), LIMITED, requests=3),
    "gemini: a signature after the text": Odd("gemini", of("gemini", GEMINI.delta(HI),
        GEMINI.chunk([{"text": "", "thoughtSignature": "c2ln"}], "STOP")), STOP),
    "chunks with extensions, and fields behind the last": Odd("chat", raw(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n",
        f"{len(CHAT_WHOLE):x};part=1\r\n{CHAT_WHOLE}\r\n0\r\nx-checksum: 1\r\n\r\n"), STOP),
    "a header of bytes that are no text": Odd("chat", Reply(CHAT.whole(HI), headers={
        "x-note": "\u00e9\u00fc"}), STOP),
    "a page about too many requests": Odd("chat", status("429 Too Many Requests", PAGE,
        "text/html", retry_after_ms="20"), LIMITED, requests=3, kept="Sign in"),
    "a request that came too slowly": Odd("chat", status("408 Request Timeout", "{}"), AWAY,
        requests=3),
    "a conflict": Odd("claude", status("409 Conflict", json.dumps({"type": "error", "error": {
        "type": "conflict_error", "message": "m"}})), AWAY, requests=3),
    "an error that is compressed": Odd("chat", Reply((gzip.compress(json.dumps({"error": {
        "message": "no such model", "code": "model_not_found"}}).encode()),), "404 Not Found",
        JSON, {"content-encoding": "gzip"}), REFUSED, kept="no such model"),
}  # fmt: skip
