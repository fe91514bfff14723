"""Parsing the token usage that providers report.

A report may be missing, in parts, repeated, and have its numbers as floats or strings. Of each
counter the largest value counts: all are running totals, so that a later zero, or a report without
the counter, takes nothing back.
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
"""No request uses more; at the highest possible price the ledger can still hold the cost."""
_NUMBER = re.compile(r"[0-9]{1,100}(\.[0-9]{1,30})?")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,40}")
_DEPTH = 4
_FOR_12_HOURS = "cache writes for 12 hours"


class UsageReports(ABC):
    """The usage reports of one request. A subclass knows the counters of one wire format.

    Names of nested members are joined by dots.
    """

    standard: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Values of options, in lower case, for which the price list holds."""
    unpriced: ClassVar[Mapping[str, str]] = {}
    """Counters of what has its own price, which is not in the price list."""

    def __init__(self) -> None:
        self._largest: dict[str, int] = {}
        self._options: dict[str, str] = {}
        self._unreadable = False

    def add(self, report: JsonObject) -> None:
        """Add one report, as the provider sent it."""
        for name, value in _leaves(report):
            if name in self.standard:
                self.add_option(name, value)
            else:
                self._count(name, value)

    def add_option(self, name: str, value: Json) -> None:
        """Add an option with which the request was processed; the last value counts."""
        if isinstance(value, str) and value:
            self._options[name] = value

    def reported(self) -> ReportedUsage:
        """Return the usage reported so far."""
        usage, problem = self._usage()
        doubts = [problem, *self._doubts()]
        return ReportedUsage(usage, "; ".join(filter(None, doubts)), frozenset(self._options))

    @abstractmethod
    def _usage(self) -> tuple[Usage, str]:
        """Return the buckets, and what is inconsistent; empty when nothing is."""

    def _counter(self, name: str) -> int:
        """Return a counter; 0 when it was not reported."""
        return self._largest.get(name, 0)

    def _count(self, name: str, value: Json) -> None:
        number = _tokens(value)
        if number > _MOST_TOKENS:
            self._unreadable = self._unreadable or "token" in name.lower()
        elif number > 0:
            self._largest[name] = max(self._largest.get(name, 0), number)

    def _doubts(self) -> Iterator[str]:
        for name, value in self._options.items():
            if value.lower() not in self.standard.get(name, frozenset()):
                word = value if _WORD.fullmatch(value) else "of another kind"
                yield f"served with {name} {word}, and priced as the standard one"
        for name, words in self.unpriced.items():
            if self._counter(name):
                yield f"{words} are not in the price list"
        if self._unreadable:
            yield "the provider told a number of tokens that cannot be"


class ClaudeUsage(UsageReports):
    """anthropic 2.12.0, types/usage.py: the three input counters do not overlap.

    The output contains the thinking, which the provider says may differ by a few.
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
        counter, output = self._counter, self._counter("output_tokens")
        written = counter("cache_creation.ephemeral_5m_input_tokens")
        written += counter("cache_creation.ephemeral_1h_input_tokens")
        reasoning = min(counter("output_tokens_details.thinking_tokens"), output)
        usage = Usage(
            input_tokens=counter("input_tokens"),
            cache_read_tokens=counter("cache_read_input_tokens"),
            cache_write_tokens=max(counter("cache_creation_input_tokens"), written),
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
        counter = self._counter
        return _usage(
            prompt=counter("input_tokens"),
            read=counter("input_tokens_details.cached_tokens"),
            written=counter("input_tokens_details.cache_write_tokens"),
            output=counter("output_tokens"),
            reasoning=counter("output_tokens_details.reasoning_tokens"),
            total=counter("total_tokens"),
        )


class ChatUsage(UsageReports):
    """openai 3.54.0, types/completion_usage.py; DeepSeek tells its cache at the top."""

    standard: ClassVar[Mapping[str, frozenset[str]]] = ResponsesUsage.standard
    unpriced: ClassVar[Mapping[str, str]] = {
        "prompt_tokens_details.cache_write_tokens_details.ttl_12h_tokens": _FOR_12_HOURS
    }

    def _usage(self) -> tuple[Usage, str]:
        counter = self._counter
        read = counter("prompt_tokens_details.cached_tokens")
        return _usage(
            prompt=counter("prompt_tokens"),
            read=max(read, counter("prompt_cache_hit_tokens")),
            written=counter("prompt_tokens_details.cache_write_tokens"),
            output=counter("completion_tokens"),
            reasoning=counter("completion_tokens_details.reasoning_tokens"),
            total=counter("total_tokens"),
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
        counter, thoughts = self._counter, self._counter("thoughtsTokenCount")
        return _usage(
            prompt=counter("promptTokenCount") + counter("toolUsePromptTokenCount"),
            read=counter("cachedContentTokenCount"),
            written=0,
            output=counter("candidatesTokenCount") + thoughts,
            reasoning=thoughts,
            total=counter("totalTokenCount"),
        )


def _usage(
    *, prompt: int, read: int, written: int, output: int, reasoning: int, total: int
) -> tuple[Usage, str]:
    """Return buckets from counters that overlap; `total` completes a missing half.

    Some servers do not count reasoning as output, which the total then shows.
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
    """Yield every value that is neither object nor list, with its dotted name."""
    if isinstance(value, dict) and depth < _DEPTH:
        for key, child in value.items():
            yield from _leaves(child, f"{name}.{key}" if name else key, depth + 1)
    elif value is not None and not isinstance(value, dict | list):
        yield name, value


def _tokens(value: Json) -> int:
    """Return a number of tokens, rounded up; 0 when the value is none."""
    if isinstance(value, str):
        text = value.strip()
        return math.ceil(float(text)) if _NUMBER.fullmatch(text) else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return 0
    return math.ceil(min(max(value, 0), _MOST_TOKENS + 1))
