"""The verdict on a reply by its finish reason, for each provider's wire format.

Only what is listed as complete is complete. Providers add finish reasons without a new version of
their API; one that is not listed never makes a complete reply. Sources: anthropic 2.12.0
types/stop_reason.py; openai 3.54.0 types/responses/response.py and
types/chat/chat_completion_chunk.py; google-genai 3.4.0 types.py, FinishReason. The same table is in
docs/llm-gateway/replies.md, and a test compares them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.usage import FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(StrEnum):
    """How a reply that ended in a certain way is treated."""

    COMPLETE = "complete"
    CUT = "cut"
    """The limit on output tokens was reached."""
    FULL = "full"
    """The model's context window is full; a larger limit on output tokens does not help."""
    REFUSED = "refused"
    """The model or the provider declined."""
    TOOL = "tool"
    """The model called a tool, although none was offered."""
    PAUSED = "paused"
    """The model stopped in the middle and expects a request to continue."""
    FAILED = "failed"
    """The provider failed; the same request may succeed."""
    BROKEN = "broken"
    """The provider could not use the model's output; the same request may succeed."""
    BARRED = "barred"
    """The account has no access to the model."""
    EMPTY = "empty"
    """Complete, and without a visible character."""
    UNKNOWN = "unknown"
    """The finish reason is not listed."""


_CLAUDE = {
    "end_turn": Verdict.COMPLETE,
    "stop_sequence": Verdict.COMPLETE,
    "max_tokens": Verdict.CUT,
    "model_context_window_exceeded": Verdict.FULL,
    "refusal": Verdict.REFUSED,
    "tool_use": Verdict.TOOL,
    "pause_turn": Verdict.PAUSED,
    "compaction": Verdict.PAUSED,
}
_RESPONSES = {
    "completed": Verdict.COMPLETE,
    "incomplete/max_output_tokens": Verdict.CUT,
    "incomplete/max_messages": Verdict.FULL,
    "incomplete/content_filter": Verdict.REFUSED,
    "incomplete/steered": Verdict.PAUSED,
    "failed": Verdict.FAILED,
    "cancelled": Verdict.FAILED,
}
_CHAT = {
    "stop": Verdict.COMPLETE,
    "length": Verdict.CUT,
    "model_length": Verdict.FULL,  # Mistral
    "content_filter": Verdict.REFUSED,
    "tool_calls": Verdict.TOOL,
    "function_call": Verdict.TOOL,
    "insufficient_system_resource": Verdict.FAILED,  # DeepSeek
    "aborted": Verdict.FAILED,  # DeepSeek
    "abort": Verdict.FAILED,  # vLLM
    "error": Verdict.FAILED,  # OpenRouter, Mistral
}
_GEMINI = {
    "STOP": Verdict.COMPLETE,
    "MAX_TOKENS": Verdict.CUT,
    "CONTINUATION": Verdict.CUT,
    "SAFETY": Verdict.REFUSED,
    "RECITATION": Verdict.REFUSED,
    "LANGUAGE": Verdict.REFUSED,
    "BLOCKLIST": Verdict.REFUSED,
    "PROHIBITED_CONTENT": Verdict.REFUSED,
    "SPII": Verdict.REFUSED,
    "ESCALATION": Verdict.REFUSED,
    "MODEL_ARMOR": Verdict.REFUSED,
    "IMAGE_SAFETY": Verdict.REFUSED,
    "IMAGE_PROHIBITED_CONTENT": Verdict.REFUSED,
    "IMAGE_RECITATION": Verdict.REFUSED,
    "PUP_LIMITED_DISABLED": Verdict.BARRED,
    "UNEXPECTED_TOOL_CALL": Verdict.TOOL,
    "TOO_MANY_TOOL_CALLS": Verdict.TOOL,
    "MALFORMED_FUNCTION_CALL": Verdict.BROKEN,
    "MALFORMED_RESPONSE": Verdict.BROKEN,
    "MISSING_THOUGHT_SIGNATURE": Verdict.BROKEN,
    "OTHER": Verdict.BROKEN,
    "IMAGE_OTHER": Verdict.BROKEN,
    "NO_IMAGE": Verdict.BROKEN,
    "FINISH_REASON_UNSPECIFIED": Verdict.UNKNOWN,
}
VERDICTS: Mapping[WireFormat, Mapping[str, Verdict]] = {
    WireFormat.CLAUDE_MESSAGES: _CLAUDE,
    WireFormat.OPENAI_RESPONSES: _RESPONSES,
    WireFormat.OPENAI_CHAT: _CHAT,
    WireFormat.GEMINI_GENERATE_CONTENT: _GEMINI,
}
_ALL = {word.lower(): verdict for table in VERDICTS.values() for word, verdict in table.items()}
_FINISH = {
    Verdict.COMPLETE: FinishReason.STOP,
    Verdict.EMPTY: FinishReason.STOP,
    Verdict.CUT: FinishReason.LENGTH,
    Verdict.FULL: FinishReason.LENGTH,
    Verdict.REFUSED: FinishReason.REFUSAL,
}
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


@dataclass(slots=True)
class EndSignals:
    """What a reply contains that bears on how it ended."""

    word: str = ""
    """The provider's finish reason; empty until it has arrived."""
    upstream: str = ""
    """The finish reason of the provider behind a proxy that passes it on."""
    refused: bool = False
    """Whether part of the reply is a refusal, or the prompt was blocked."""
    tool: bool = False
    """Whether a tool was called."""
    reasoning: bool = False
    """Whether part of the reply is reasoning."""

    @property
    def received(self) -> bool:
        """Whether the finish reason has arrived."""
        return bool(self.word)


def verdict_of(wire_format: WireFormat, end: EndSignals, text: str) -> Verdict:
    """Return the verdict on a reply. Nothing else decides this, for any provider."""
    verdict = _of_word(wire_format, end.word)
    if verdict is Verdict.COMPLETE and end.upstream:
        # A proxy may report every end as its own `stop`.
        verdict = _ALL.get(end.upstream.lower(), verdict)
    if verdict is Verdict.FAILED:
        return verdict
    if end.refused:
        return Verdict.REFUSED
    if verdict is not Verdict.COMPLETE:
        return verdict
    if end.tool:
        return Verdict.TOOL
    return Verdict.EMPTY if is_blank(text) else Verdict.COMPLETE


def finish_reason(verdict: Verdict) -> FinishReason:
    """Return the finish reason of a reply with which a call may be settled."""
    return _FINISH.get(verdict, FinishReason.UNKNOWN)


def is_blank(text: str) -> bool:
    """Whether a text has no visible character."""
    return not text or all(unicodedata.category(character) in _INVISIBLE for character in text)


def _of_word(wire_format: WireFormat, word: str) -> Verdict:
    """Look a word up; another format's, which a proxy may pass on, is never complete."""
    known = VERDICTS[wire_format].get(word)
    if known is not None:
        return known
    verdict = _ALL.get(word.lower(), Verdict.UNKNOWN)
    return Verdict.UNKNOWN if verdict is Verdict.COMPLETE else verdict
