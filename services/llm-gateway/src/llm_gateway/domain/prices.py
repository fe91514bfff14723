"""Prices of tokens. All money is in whole micro-USD, a millionth of a US dollar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from llm_gateway.domain.usage import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-USD per million tokens of each kind."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    """Reasoning included."""

    def cost(self, usage: Usage) -> int:
        """Return what one attempt cost, its sum rounded up once to a whole micro-USD."""
        parts = (
            usage.input_tokens * self.input,
            usage.cache_read_tokens * self.cache_read,
            usage.cache_write_tokens * self.cache_write,
            (usage.output_tokens + usage.reasoning_tokens) * self.output,
        )
        return -(-sum(parts) // _MILLION)


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price from a date on, for prompts from a length on. Rows never change."""

    id: str
    model_id: str
    effective_at: datetime
    min_input_tokens: int
    rates: Rates

    @staticmethod
    def id_of(model_id: str, effective_at: datetime, min_input_tokens: int) -> str:
        """Return the id that a row of this model, time and prompt length has."""
        return f"{model_id}@{effective_at:%Y-%m-%dT%H:%M:%S.%fZ}+{min_input_tokens}"


def price_at(prices: Iterable[Price], moment: datetime, prompt_tokens: int) -> Price | None:
    """Return the row for a prompt of this length at this moment.

    Each prompt length has its own succession of prices: of the longest that the prompt reaches,
    the latest that has begun.
    """
    reached = [
        price
        for price in prices
        if price.effective_at <= moment and price.min_input_tokens <= prompt_tokens
    ]
    return max(reached, key=lambda p: (p.min_input_tokens, p.effective_at), default=None)
