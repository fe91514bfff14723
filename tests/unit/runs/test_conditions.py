from __future__ import annotations

import pytest

from runs.conditions import holds
from runs.domain.failures import StepImpossible


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ("review.score < 8", True),
        ("review.score < 8 && draft.characters > 10000", False),
        ("review.score in [6, 7]", True),
        ("fact_check.errors == 0", True),
    ],
)
def test_a_condition_sees_the_metrics_of_steps(expression: str, *, true: bool) -> None:
    metrics = {"review": {"score": 7}, "draft": {"characters": 900}, "fact-check": {"errors": 0}}

    assert holds(expression, metrics) is true


@pytest.mark.parametrize("expression", ["review.score", "1 + 1", "review.gone < 8", "other.x > 1"])
def test_a_condition_that_is_neither_true_nor_false_fails_the_step(expression: str) -> None:
    with pytest.raises(StepImpossible):
        holds(expression, {"review": {"score": 7}})
