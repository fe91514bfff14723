"""From a path to the format that is spoken there.

`/claude`, `/openai` or `/gemini` may stand before a path, so that one address can be given to each
provider; without it, the path alone tells the provider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmstub.domain import PROVIDERS, GenerationRequest, JsonObject
from llmstub.formats import claude, gemini, openai_responses
from llmstub.formats.claude import ClaudeMessages
from llmstub.formats.gemini import Gemini
from llmstub.formats.openai_chat import OpenAiChat
from llmstub.formats.openai_responses import OpenAiResponses

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmstub.domain import Provider
    from llmstub.formats.wire_format import WireFormat

_PREFIX = re.compile(rf"/({'|'.join(PROVIDERS)})(?=/)")
_GEMINI = re.compile(
    r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)"
)


@dataclass(frozen=True, slots=True)
class Route:
    """What is spoken at one path."""

    provider: Provider | Literal["unknown"]
    format: WireFormat  # of an unknown path: the one that its refusal is worded in
    kind: Literal["generate", "count", "unknown"] = "generate"
    counted: Callable[[GenerationRequest], JsonObject] | None = None  # words the answer of a count


def route(path: str) -> Route:
    prefix = _PREFIX.match(path)
    found = _route(path[prefix.end() :] if prefix else path)
    if prefix is None or found.provider == prefix[1]:
        return found
    refusing: dict[str, Route] = {
        "claude": Route("claude", ClaudeMessages(), "unknown"),
        "openai": Route("openai", OpenAiChat(), "unknown"),
        "gemini": Route("gemini", Gemini(), "unknown"),
    }
    return refusing[prefix[1]]


def _route(path: str) -> Route:
    match path:
        case "/v1/messages":
            return Route("claude", ClaudeMessages())
        case "/v1/messages/count_tokens":
            return Route("claude", ClaudeMessages(counts=True), "count", claude.counted)
        case "/v1/responses":
            return Route("openai", OpenAiResponses())
        case "/v1/responses/input_tokens":
            return Route("openai", OpenAiResponses(), "count", openai_responses.counted)
        case "/v1/chat/completions":
            return Route("openai", OpenAiChat())
        case _:
            named = _GEMINI.fullmatch(path)
    if named is None:
        return Route("unknown", OpenAiChat(), "unknown")
    model, method = named.groups()
    if method == "countTokens":
        return Route("gemini", Gemini(model, counts=True), "count", gemini.counted)
    return Route("gemini", Gemini(model, stream=method.startswith("stream")))
