"""Replies in forms that one wire format alone has, each of them the text `hi there`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES, event

if TYPE_CHECKING:
    from tests.support.gateway_client import Fields
    from tests.support.scripted_provider import Piece

HI = "hi there"
CHAT_END = CHAT.ended("stop") + CHAT.used() + CHAT.done()


def message(text: Fields) -> str:
    """Return a chunk that holds `message` in place of `delta`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    return event({"id": "chat-1", "choices": [choice]})


OUTPUT = [{"type": "reasoning", "summary": []},
          {"type": "message", "content": [{"type": "output_text", "text": HI}]}]  # fmt: skip
# What one wire format alone does.
OF_ONE: dict[str, tuple[str, tuple[Piece, ...]]] = {
    "content in parts": ("chat", (
        CHAT.chunk({"content": [{"type": "text", "text": "hi "}, {"type": "thinking"}]}),
        CHAT.chunk({"content": [{"type": "text", "text": "there"}]}), CHAT_END)),
    "a message in place of a delta": ("chat", (message(HI), CHAT_END)),
    "pieces in messages": ("chat", (message("hi "), message("there"), CHAT_END)),
    "growing messages": ("chat", (message("hi "), message("hi th"), message(HI), CHAT_END)),
    "the whole message after the deltas": ("chat", (
        CHAT.delta("hi "), CHAT.delta("there"), message(HI), CHAT_END)),
    "a message in parts": ("chat", (message([{"type": "text", "text": HI}]), CHAT_END)),
    "the end and the text in one chunk": ("chat", (
        CHAT.chunk({"content": HI}, "stop"), CHAT.used(), CHAT.done())),
    "the usage before the end": ("chat", (CHAT.delta(HI), CHAT.used(), CHAT.ended("stop"))),
    "another id in each chunk": ("chat", (
        CHAT.delta("hi "), CHAT.delta("there").replace("chat-1", "chat-2"), CHAT_END)),
    "an index that is text": (
        "chat",
        (CHAT.delta(HI).replace('"index": 0', '"index": "0"'), CHAT_END),
    ),
    "no tools, told": ("chat", (CHAT.chunk({"content": HI, "tool_calls": []}), CHAT_END)),
    "a second choice, first": ("chat", (
        CHAT.chunk({"content": "other"}, index=1), CHAT.delta(HI), CHAT_END)),
    "a second choice, between and at the end": ("chat", (
        CHAT.delta("hi "), CHAT.chunk({"content": "other"}, index=1), CHAT.delta("there"),
        CHAT.ended("stop"), CHAT.chunk({}, "length", index=1), CHAT.used(), CHAT.done())),
    "two choices in one chunk": ("chat", (
        event({"id": "c", "choices": [{"index": 1, "delta": {"content": "other"}},
                                      {"index": 0, "delta": {"content": HI}}]}), CHAT_END)),
    "another reply after the end": ("chat", (
        *CHAT.whole(HI)[:-1], CHAT.delta(" and more").replace("chat-1", "chat-2"))),
    "Azure's chunks without choices": ("chat", (
        event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        CHAT.delta(HI), CHAT_END)),
    "text only in the last event": ("responses", (
        RESPONSES.began(), RESPONSES.ended(output=OUTPUT))),
    "text only in the event of its part": ("responses", (
        RESPONSES.began(),
        RESPONSES.event("response.output_text.done", output_index=1, content_index=0, text=HI),
        RESPONSES.ended())),
    "the last delta lost": ("responses", (
        RESPONSES.began(), RESPONSES.delta("hi "), RESPONSES.ended(output=OUTPUT))),
    "everything told four times": ("responses", (
        RESPONSES.began(), RESPONSES.delta("hi "), RESPONSES.delta("there"),
        RESPONSES.event("response.output_text.done", output_index=1, content_index=0, text=HI),
        RESPONSES.event("response.content_part.done", part=OUTPUT[1]),
        RESPONSES.event("response.output_item.done", item=OUTPUT[1]),
        RESPONSES.ended(output=OUTPUT))),
    "keepalives": ("responses", (
        RESPONSES.began(), RESPONSES.event("keepalive", sequence_number=3), RESPONSES.delta(HI),
        RESPONSES.ended())),
    "text in the start of its block": ("claude", (
        CLAUDE.began(),
        CLAUDE.event("content_block_start", index=0, content_block={"type": "text", "text": HI}),
        CLAUDE.ended(), CLAUDE.done())),
    "a second start before any text": ("claude", (CLAUDE.began(), *CLAUDE.whole(HI))),
    "a second start after the end": ("claude", (*CLAUDE.whole(HI)[:-1], *CLAUDE.whole("more"))),
    "two candidates": ("gemini", (
        event({"responseId": "g", "candidates": [
            {"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "MAX_TOKENS"},
            {"index": 0, "content": {"parts": [{"text": HI}]}, "finishReason": "STOP"}]}),)),
    "a candidate of index 1 alone in a chunk": ("gemini", (
        event({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]}),
        *GEMINI.whole(HI))),
    "another reply after Gemini's end": ("gemini", (
        *GEMINI.whole(HI), GEMINI.delta(" more").replace("gemini-1", "gemini-2"))),
}  # fmt: skip

# Two replies in one stream, the first of which has not ended.
TWO: dict[str, tuple[str, tuple[Piece, ...]]] = {
    "a second start": ("claude", (CLAUDE.began(), CLAUDE.delta("half"), *CLAUDE.whole(HI))),
    "a second chat": ("chat", (
        CHAT.began(), CHAT.delta("half"),
        *(piece.replace("chat-1", "chat-2") for piece in CHAT.whole(HI)))),
    "a second response": ("responses", (
        RESPONSES.began(), RESPONSES.delta("half"),
        *(piece.replace("resp-1", "resp-2") for piece in RESPONSES.whole(HI)))),
}  # fmt: skip
