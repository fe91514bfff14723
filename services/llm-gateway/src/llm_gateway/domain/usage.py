"""The token usage of a call, and the finish reason of its reply."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

BYTES_PER_TOKEN = 4


class FinishReason(StrEnum):
    """Why a reply ended."""

    UNKNOWN = "unknown"
    STOP = "stop"
    LENGTH = "length"
    TRUNCATED_BY_REASONING = "truncated_by_reasoning"
    REFUSAL = "refusal"

    @property
    def cut_off(self) -> bool:
        """Whether a limit on output tokens ended the reply."""
        return self in (FinishReason.LENGTH, FinishReason.TRUNCATED_BY_REASONING)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, in buckets that do not overlap."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Without reasoning."""
    reasoning_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The prompt's length, however much of it was cached."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            *(getattr(self, name) + getattr(other, name) for name in USAGE_FIELDS),
        )

    @property
    def reply_tokens(self) -> int:
        """The reply's length, its reasoning included."""
        return self.output_tokens + self.reasoning_tokens

    def with_prompt_of(self, other: Usage) -> Usage:
        return Usage(
            other.input_tokens,
            other.cache_read_tokens,
            other.cache_write_tokens,
            self.output_tokens,
            self.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """The usage that a provider reported for a request."""

    usage: Usage = Usage()
    """A bucket that was not reported is 0."""
    doubt: str = ""
    """Why the cost may differ from what the price list yields; empty if it does not."""
    reported_options: frozenset[str] = field(default_factory=frozenset[str], compare=False)
    """Options such as `service_tier` of which the provider reported the value."""

    def doubted(self, doubts: Iterable[str]) -> ReportedUsage:
        """Return the usage with more doubts."""
        doubt = "; ".join(filter(None, (self.doubt, *doubts)))
        return self if doubt == self.doubt else replace(self, doubt=doubt)

    def completed(self, prompt_tokens: int, reply_tokens: int, *, whole: bool) -> ReportedUsage:
        """Return the usage with estimates for what was not reported, which is then a doubt.

        A prompt is never empty, nor is a reply with text: 0 means not reported. Of a reply that is
        not whole, the counters may be as old as its beginning.
        """
        usage, missing = self.usage, list[str]()
        if not usage.prompt_tokens:
            usage, missing = usage.with_prompt_of(Usage(prompt_tokens)), ["the prompt"]
        least = 1 if whole and reply_tokens else reply_tokens
        if usage.reply_tokens < least:
            usage = Usage(output_tokens=reply_tokens).with_prompt_of(usage)
            missing.append("the reply")
        why = f"the provider did not tell the tokens of {' and '.join(missing)}" if missing else ""
        if not whole:
            why = "the reply broke off before its tokens were told"
        if not why:
            return self
        return replace(self, usage=usage, doubt="; ".join(filter(None, (why, self.doubt))))


USAGE_FIELDS = tuple(each.name for each in fields(Usage))


def estimated_tokens(utf8_bytes: int) -> int:
    """Estimate the tokens of so many bytes of text: one for every four bytes begun."""
    return -(-utf8_bytes // BYTES_PER_TOKEN)
