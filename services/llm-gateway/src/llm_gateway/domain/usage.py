"""What a call used, in tokens, and why its reply ended."""

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
    """What a provider told of a request's tokens."""

    usage: Usage = Usage()
    """A bucket that nothing was told of is 0."""
    doubt: str = ""
    """Why the request's cost may be another than the price list makes of it; empty if it is not."""
    served: frozenset[str] = field(default_factory=frozenset[str], compare=False)
    """Of which of its choices, such as `service_tier`, the provider told what it chose."""

    def doubted(self, doubts: Iterable[str]) -> ReportedUsage:
        """Return it with more doubts."""
        return replace(self, doubt="; ".join(filter(None, (self.doubt, *doubts))))

    def completed(self, prompt_tokens: int, reply_tokens: int, *, whole: bool) -> ReportedUsage:
        """Return it with estimates for what was not told, and with that for a doubt.

        A prompt is never empty and a reply with text neither, so that 0 is not told. Of a reply
        that is not whole the counters may be as old as its beginning.
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
        return replace(self, usage=usage, doubt="; ".join(filter(None, (why, self.doubt))))


USAGE_FIELDS = tuple(each.name for each in fields(Usage))


def estimated_tokens(utf8_bytes: int) -> int:
    """Return about how many tokens so many bytes of text are: one for every four begun."""
    return -(-utf8_bytes // BYTES_PER_TOKEN)
