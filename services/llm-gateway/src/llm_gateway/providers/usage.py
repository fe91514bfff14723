"""What providers report of the tokens that a request used, read in one way for all of them.

A report may be missing, come in parts, come several times, and write its numbers as floats or as
strings. Of each counter the largest counts: all are running totals, so that a later zero, or a
report that leaves a counter out, takes nothing back.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from llm_gateway.domain.usage import ReportedUsage, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json, JsonObject

_MOST_TOKENS = 1_000_000_000
"""No request uses so many; at the highest price that can be set the ledger still holds its cost."""
_NUMBER = re.compile(r"[0-9]{1,100}(\.[0-9]{1,30})?")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_DEPTH = 4
_FOR_12_HOURS = "cache writes for 12 hours"


class UsageReports(ABC):
    """The reports of one request. A subclass knows the names of one wire format.

    Names inside objects are joined by dots.
    """

    standard: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Which words, in lower case, say that a request was served as the price list prices it."""
    unpriced: ClassVar[Mapping[str, str]] = {}
    """Counters of what has a price of its own, which the price list does not hold."""

    def __init__(self) -> None:
        self._largest: dict[str, int] = {}
        self._served: dict[str, str] = {}
        self._unreadable = False

    def add(self, report: JsonObject) -> None:
        """Take one report, as the provider wrote it."""
        for name, value in _leaves(report):
            if name in self.standard:
                self.served(name, value)
            else:
                self._count(name, value)

    def served(self, name: str, value: Json) -> None:
        """Take a word about how the request was served; the last one counts."""
        if isinstance(value, str) and value:
            self._served[name] = value

    def reported(self) -> ReportedUsage:
        """Return what has been told so far."""
        usage, problem = self._usage()
        doubts = [problem, *self._doubts()]
        return ReportedUsage(usage, "; ".join(filter(None, doubts)), frozenset(self._served))

    @abstractmethod
    def _usage(self) -> tuple[Usage, str]:
        """Return the buckets, and what is wrong with the figures; empty when nothing is."""

    def _told(self, name: str) -> int:
        """Return a counter; 0 when it was not told, which is the same for all that is used here."""
        return self._largest.get(name, 0)

    def _count(self, name: str, value: Json) -> None:
        number = _tokens(value)
        if number > _MOST_TOKENS:
            self._unreadable = self._unreadable or "token" in name.lower()
        elif number > 0:
            self._largest[name] = max(self._largest.get(name, 0), number)

    def _doubts(self) -> Iterator[str]:
        for name, value in self._served.items():
            if value.lower() not in self.standard.get(name, frozenset()):
                word = value if _WORD.fullmatch(value) else "of another kind"
                yield f"served with {name} {word}, and priced as the standard one"
        for name, words in self.unpriced.items():
            if self._told(name):
                yield f"{words} are not in the price list"
        if self._unreadable:
            yield "the provider told a number of tokens that cannot be"


class ClaudeUsage(UsageReports):
    """anthropic 2.12.0, types/usage.py: the three input counters do not overlap.

    The output contains the thinking, of which it is said to be off by a few.
    """

    standard: ClassVar[Mapping[str, frozenset[str]]] = {
        "service_tier": frozenset({"standard"}),
        "inference_geo": frozenset({"global", "not_available"}),
        "speed": frozenset({"standard"}),
    }
    unpriced: ClassVar[Mapping[str, str]] = {
        "cache_creation.ephemeral_1h_input_tokens": "cache writes for an hour",
        "server_tool_use.web_search_requests": "web searches",
        "server_tool_use.web_fetch_requests": "web fetches",
    }

    def _usage(self) -> tuple[Usage, str]:
        told, output = self._told, self._told("output_tokens")
        written = told("cache_creation.ephemeral_5m_input_tokens")
        written += told("cache_creation.ephemeral_1h_input_tokens")
        reasoning = min(told("output_tokens_details.thinking_tokens"), output)
        usage = Usage(
            input_tokens=told("input_tokens"),
            cache_read_tokens=told("cache_read_input_tokens"),
            cache_write_tokens=max(told("cache_creation_input_tokens"), written),
            output_tokens=output - reasoning,
            reasoning_tokens=reasoning,
        )
        return usage, ""


class ResponsesUsage(UsageReports):
    """openai 3.54.0, types/responses/response_usage.py: the details are parts of their totals."""

    standard: ClassVar[Mapping[str, frozenset[str]]] = {
        "service_tier": frozenset({"default", "standard", "on_demand", "auto"})
    }
    unpriced: ClassVar[Mapping[str, str]] = {
        "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens": _FOR_12_HOURS
    }

    def _usage(self) -> tuple[Usage, str]:
        told = self._told
        return _usage(
            prompt=told("input_tokens"),
            read=told("input_tokens_details.cached_tokens"),
            written=told("input_tokens_details.cache_write_tokens"),
            output=told("output_tokens"),
            reasoning=told("output_tokens_details.reasoning_tokens"),
            total=told("total_tokens"),
        )


class ChatUsage(UsageReports):
    """openai 3.54.0, types/completion_usage.py; DeepSeek tells its cache at the top."""

    standard: ClassVar[Mapping[str, frozenset[str]]] = ResponsesUsage.standard
    unpriced: ClassVar[Mapping[str, str]] = {
        "prompt_tokens_details.cache_write_tokens_details.ttl_12h_tokens": _FOR_12_HOURS
    }

    def _usage(self) -> tuple[Usage, str]:
        told = self._told
        read = told("prompt_tokens_details.cached_tokens")
        return _usage(
            prompt=told("prompt_tokens"),
            read=max(read, told("prompt_cache_hit_tokens")),
            written=told("prompt_tokens_details.cache_write_tokens"),
            output=told("completion_tokens"),
            reasoning=told("completion_tokens_details.reasoning_tokens"),
            total=told("total_tokens"),
        )


class GeminiUsage(UsageReports):
    """google-genai 3.4.0, types.py: the total is prompt, tool use, candidates and thoughts.

    The prompt contains what was read from the cache; a zero is left out.
    """

    standard: ClassVar[Mapping[str, frozenset[str]]] = {
        "serviceTier": frozenset({"standard", "unspecified"}),
        "trafficType": frozenset({"on_demand", "traffic_type_unspecified"}),
    }

    def _usage(self) -> tuple[Usage, str]:
        told, thoughts = self._told, self._told("thoughtsTokenCount")
        return _usage(
            prompt=told("promptTokenCount") + told("toolUsePromptTokenCount"),
            read=told("cachedContentTokenCount"),
            written=0,
            output=told("candidatesTokenCount") + thoughts,
            reasoning=thoughts,
            total=told("totalTokenCount"),
        )


def _usage(
    *, prompt: int, read: int, written: int, output: int, reasoning: int, total: int
) -> tuple[Usage, str]:
    """Return buckets from counters that overlap; `total` tells a half that is missing.

    Some servers count their reasoning beside the output, which the total then shows.
    """
    if total and not prompt and output:
        prompt = max(total - output, 0)
    if prompt:
        output = max(output, total - prompt)
    if reasoning > output:
        output += reasoning
    cached = read + written
    if cached > prompt:
        usage = Usage(prompt, read, written, output - reasoning, reasoning)
        return usage, "more tokens were told as cached than the prompt has" if prompt else ""
    return Usage(prompt - cached, read, written, output - reasoning, reasoning), ""


def _leaves(value: Json, name: str = "", depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Yield every value that is neither object nor list, with the path of names to it."""
    if isinstance(value, dict) and depth < _DEPTH:
        for key, child in value.items():
            yield from _leaves(child, f"{name}.{key}" if name else key, depth + 1)
    elif value is not None and not isinstance(value, dict | list):
        yield name, value


def _tokens(value: Json) -> int:
    """Return a number of tokens, its fraction rounded up; 0 when it is none, as when not told."""
    if isinstance(value, str):
        text = value.strip()
        return math.ceil(float(text)) if _NUMBER.fullmatch(text) else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return 0
    return math.ceil(min(max(value, 0), _MOST_TOKENS + 1))
