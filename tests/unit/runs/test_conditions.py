from __future__ import annotations

import pytest

from runs.domain.conditions import evaluate_condition
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

    assert evaluate_condition(expression, metrics) is true


@pytest.mark.parametrize(
    ("score", "expression", "true"),
    [
        (7.6, "review.score < 8", True),
        (7.5, "review.score < 8", True),
        (0.4, "review.score < 0.5", True),
        (0.6, "review.score < 0.5", False),
        (0.5, "review.score < 0.5", False),
        (0.4, "review.score < 0.5 || review.score > 0.45", True),
        (1e30, "review.score < 8", False),
        (8, "review.score == 8.0", True),
    ],
)
def test_a_condition_compares_numbers_with_their_fractions(
    score: float, expression: str, *, true: bool
) -> None:
    assert evaluate_condition(expression, {"review": {"score": score}}) is true


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("review.gone < 8", "there is no metric gone"),
        ("skipped.score < 8", "there is no metric score (a skipped step has none)"),
        ("review.score / 0 > 1", "it divides by zero"),
        ("9223372036854775807 + review.score > 0", "a number grows too large"),
        ("review.score + 0.5 > 1.0", "it mixes kinds of values"),
    ],
)
def test_why_a_condition_cannot_be_evaluated_is_reported(expression: str, why: str) -> None:
    with pytest.raises(StepImpossible) as failed:
        evaluate_condition(expression, {"review": {"score": 7}, "skipped": {}})

    assert failed.value.reason == "CONDITION_FAILED"
    assert failed.value.message.startswith(f"the condition cannot be evaluated: {why}")


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ("has(review.gone)", False),
        ("'score' in review", True),
        ("'gone' in review", False),
        ("review['score'] < 8", True),
        ("review.score < 8.5", True),
        ("double(review.score) < 8.5", True),
        ("review == review", True),
        ("size(review) > 1", True),
        ("true || review.gone < 3", True),
        ("review.score < 8 ? true : false", True),
        ("{'a': review.score}.a < 8", True),
        ("string(review.score).matches('^(5+)+$')", True),
        ("input.bytes > 1", True),
    ],
)
def test_a_condition_may_be_written_in_every_way_that_cel_has(
    expression: str, *, true: bool
) -> None:
    metrics = {"review": {"score": 5, "bytes": 11}, "input": {"bytes": 2}}

    assert evaluate_condition(expression, metrics) is true


def test_a_pattern_that_could_be_matched_in_countless_ways_is_matched_at_once() -> None:
    digits = f"string(review.score).matches('^({'5+' * 20})+$')"

    assert evaluate_condition(digits, {"review": {"score": 5_555_555_555_555_555_551}}) is False


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ("has(b.score) && b.score > 0", False),
        ("skipped(b)", True),
        ("skipped(a)", False),
        ("!skipped(a) && skipped(b) && a.score == 7", True),
        ("skipped(skipped)", False),
        ("skipped.score == 3 && skipped(b)", True),
    ],
)
def test_a_condition_can_ask_whether_a_step_was_skipped(expression: str, *, true: bool) -> None:
    facts = {"a": {"score": 7}, "b": None, "skipped": {"score": 3}}

    assert evaluate_condition(expression, facts) is true


@pytest.mark.parametrize(
    ("expression", "true"),
    [
        ("classify.kind == 'invoice'", True),
        ("classify.kind in ['letter', 'memo']", False),
        ("classify.kind.startsWith('inv') && classify.urgent", True),
        ("!classify.urgent || classify.pages > 2", True),
        ("classify.kind == '請求書'", False),
        ("classify.urgent == true", True),
        ("classify.pages == '3'", False),
    ],
)
def test_a_condition_compares_texts_and_booleans(expression: str, *, true: bool) -> None:
    facts = {"classify": {"kind": "invoice", "urgent": True, "pages": 3}}

    assert evaluate_condition(expression, facts) is true


@pytest.mark.parametrize("expression", ["review.score", "1 + 1", "review.gone < 8", "other.x > 1"])
def test_a_condition_that_is_neither_true_nor_false_fails_the_step(expression: str) -> None:
    with pytest.raises(StepImpossible):
        evaluate_condition(expression, {"review": {"score": 7}})
