"""The function, on files in memory."""

from __future__ import annotations

import asyncio

import pytest

from nagaya_functions import StepError
from nagaya_functions.testing import FunctionHarness


def test_the_words_of_all_paragraphs_are_counted() -> None:
    harness = FunctionHarness()
    harness.add_output("input", {"paragraphs": ["one two", "three"]})

    result = asyncio.run(harness.run("example.word_count", metrics={"words": "/words"}))

    assert result.metrics == {"words": 3}
    assert result.files["words.csv"].decode().split() == ["paragraph,words", "1,2", "2,1"]


def test_an_input_without_a_list_fails_the_step_for_good() -> None:
    harness = FunctionHarness()
    harness.add_output("input", {"paragraphs": "one two"})

    with pytest.raises(StepError) as failed:
        asyncio.run(harness.run("example.word_count"))

    assert (failed.value.reason, failed.value.retryable) == ("NO_PARAGRAPHS", False)
