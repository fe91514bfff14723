"""Prices: which row counts, and what it makes of a usage, to the micro-USD."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.domain.prices import Price, Rates, price_at
from llm_gateway.domain.usage import Usage

TOKENS = st.integers(0, 10_000_000)
MONEY = st.integers(0, 100_000_000)
DAY = datetime(2026, 11, 23, tzinfo=UTC)
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
RATES = st.builds(Rates, MONEY, MONEY, MONEY, MONEY)


@given(RATES, USAGES)
def test_a_cost_is_the_exact_sum_rounded_up_once(rates: Rates, usage: Usage) -> None:
    exact = (
        Fraction(usage.input_tokens * rates.input, 10**6)
        + Fraction(usage.cache_read_tokens * rates.cache_read, 10**6)
        + Fraction(usage.cache_write_tokens * rates.cache_write, 10**6)
        + Fraction((usage.output_tokens + usage.reasoning_tokens) * rates.output, 10**6)
    )

    assert rates.cost(usage) == math.ceil(exact)


def price(days: int, length: int = 0) -> Price:
    moment = DAY + timedelta(days=days)
    return Price(Price.id_of("m", moment, length), "m", moment, length, Rates(1, 1, 1, 1))


@given(
    st.sets(st.tuples(st.integers(-5, 5), st.sampled_from((0, 100_001, 272_001)))),
    st.integers(-6, 6),
    st.sampled_from((0, 1, 100_000, 100_001, 272_000, 272_001)),
)
def test_the_row_is_the_latest_of_the_longest_length_reached(
    rows: set[tuple[int, int]], day: int, tokens: int
) -> None:
    begun = [(length, since) for since, length in rows if since <= day and length <= tokens]
    found = price_at([price(*row) for row in rows], DAY + timedelta(days=day), tokens)

    if not begun:
        assert found is None
    else:
        length, since = max(begun)
        assert found == price(since, length)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), 0),
        (datetime(2026, 12, 1, tzinfo=UTC), 1),
    ],
)
def test_a_price_begins_on_its_instant(moment: datetime, expected: int) -> None:
    rows = [
        Price("old", "m", datetime(2026, 11, 10, tzinfo=UTC), 0, Rates(2, 0, 0, 10)),
        Price("new", "m", datetime(2026, 12, 1, tzinfo=UTC), 0, Rates(4, 0, 0, 20)),
    ]

    assert price_at(rows, moment, 5) == rows[expected]


def test_a_model_without_a_begun_price_has_none() -> None:
    assert price_at([price(1)], DAY, 0) is None
    assert price_at([price(0, length=10)], DAY, 9) is None
