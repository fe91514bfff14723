"""The graph, on files in memory and with replies that the test gives."""

from __future__ import annotations

import asyncio

import pytest

from nagaya_graphs import StepError
from nagaya_graphs.testing import GraphHarness

ARGUMENTS = {"good_score": 8, "most_rounds": 3}


def test_sections_are_drafted_again_until_they_are_good() -> None:
    harness = GraphHarness()
    harness.add_replies("draft", "so so", "dull", "good", "great")
    harness.add_replies("review", {"score": 5}, {"score": 9})
    given = {"sections": ["one", "two"]}

    ended = asyncio.run(harness.run("example.drafted_sections", given, arguments=ARGUMENTS))

    assert ended.nodes == [
        *("outline", "draft", "draft", "review", "redraft"),
        *("draft", "draft", "review", "publish"),
    ]
    assert ended.visits[-1].files["article.md"] == b"good\n\ngreat"
    assert ended.state["score"] == 9


def test_nobody_goes_round_for_ever() -> None:
    harness = GraphHarness()
    harness.add_replies("draft", *["bad"] * 3)
    harness.add_replies("review", *[{"score": 1}] * 3)

    ended = asyncio.run(
        harness.run("example.drafted_sections", {"sections": ["one"]}, arguments=ARGUMENTS)
    )

    assert ended.state["round"] == 3


def test_an_input_without_sections_fails_its_step_for_good() -> None:
    with pytest.raises(StepError) as failed:
        asyncio.run(
            GraphHarness().run("example.drafted_sections", {"sections": []}, arguments=ARGUMENTS)
        )

    assert (failed.value.reason, failed.value.retryable) == ("NO_SECTIONS", False)
