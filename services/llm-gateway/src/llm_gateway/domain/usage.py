"""What a call used, in tokens, and why its reply ended."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

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

    def completed_by(self, estimate: Usage) -> Usage:
        """Return what was told, with the estimate for the prompt or the reply where nothing was."""
        prompt = self if self.prompt_tokens else estimate
        told_output = self.output_tokens + self.reasoning_tokens
        reply = self if told_output >= estimate.output_tokens else estimate
        return Usage(
            prompt.input_tokens,
            prompt.cache_read_tokens,
            prompt.cache_write_tokens,
            reply.output_tokens,
            reply.reasoning_tokens,
        )


USAGE_FIELDS = tuple(field.name for field in fields(Usage))


def estimated_tokens(utf8_bytes: int) -> int:
    """Return about how many tokens so many bytes of text are: one for every four begun."""
    return -(-utf8_bytes // BYTES_PER_TOKEN)
