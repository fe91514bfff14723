from __future__ import annotations

import pytest

from nagaya_functions import FilePointer
from runs.domain.failures import StepImpossible
from runs.worker.rendering import PIECE_LIMIT, render

BRIEF = FilePointer("storage/acme/r/input/output.json", "0" * 64, "/brief")
FIRST = FilePointer("storage/acme/r/draft/artifacts/1-1/output.json", "1" * 64)
SECOND = FilePointer("storage/acme/r/draft/artifacts/2-1/output.json", "2" * 64)


def test_a_pointer_stands_where_its_variable_stood() -> None:
    pieces = render("Brief: {{brief}}\nWrite.", {"brief": (BRIEF,)})

    assert pieces == ("Brief: ", BRIEF, "\nWrite.")


def test_a_variable_may_stand_twice() -> None:
    assert render("{{a}} and {{a}}", {"a": (BRIEF,)}) == (BRIEF, " and ", BRIEF)


def test_the_items_of_a_map_are_set_apart_by_a_blank_line() -> None:
    pieces = render("{{drafts}}", {"drafts": (FIRST, SECOND)})

    assert pieces == (FIRST, "\n\n", SECOND)


def test_texts_that_meet_become_one_piece() -> None:
    assert render("{{tone}}, {{tone}}.", {"tone": ("dry",)}) == ("dry, dry.",)


def test_a_value_that_looks_like_a_variable_is_left_alone() -> None:
    assert render("{{a}}", {"a": ("{{b}}",)}) == ("{{b}}",)
    assert render("{{a}} {{b}}", {"a": ("{{b}}",), "b": ("{{a}}",)}) == ("{{b}} {{a}}",)


def test_a_value_that_other_template_languages_would_read_stays_as_it_is() -> None:
    value = "{{7*7}} {% raw %} {x.__class__} }} {{ \\n ${HOME} \" ' \x7f"

    assert render("A<<{{a}}>>B", {"a": (value,)}) == (f"A<<{value}>>B",)


@pytest.mark.parametrize(
    ("template", "values"),
    [("{{a}} {{b}}", {"a": ("x",)}), ("{{a}}", {"a": ("x",), "b": ("y",)}), ("{{a}}", {})],
)
def test_a_variable_without_a_value_and_a_value_without_a_variable_are_refused(
    template: str, values: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(StepImpossible, match="disagree") as failed:
        render(template, values)
    assert failed.value.reason == "PROMPT_UNUSABLE"


def test_more_pieces_than_the_gateway_takes_are_refused() -> None:
    items = tuple(
        FilePointer(f"storage/acme/r/draft/artifacts/{n}-1/output.json", "0" * 64)
        for n in range(PIECE_LIMIT)
    )

    with pytest.raises(StepImpossible, match="fewer items") as failed:
        render("{{drafts}}", {"drafts": items})
    assert failed.value.reason == "PROMPT_TOO_MANY_PIECES"


@pytest.mark.parametrize("value", ["", " \n"])
def test_a_prompt_that_says_nothing_is_refused_with_its_variables(value: str) -> None:
    with pytest.raises(
        StepImpossible, match="nothing but space or empty values is in a, b"
    ) as failed:
        render("{{b}}\n{{a}}", {"a": (value,), "b": ()})

    assert failed.value.reason == "PROMPT_BLANK"


def test_blanks_around_a_name_make_no_difference() -> None:
    assert render("{{ a }}, {{\ta}}.", {"a": ("x",)}) == ("x, x.",)


def test_four_braces_are_the_text_of_two() -> None:
    assert render("{{{{a}} {{a}}", {"a": ("x",)}) == ("{{a}} x",)
    assert render("{{{{{{ a }}", {"a": ("x",)}) == ("{{x",)


def test_closing_braces_are_text() -> None:
    assert render('{"a": {"b": {{a}}}}', {"a": ("x",)}) == ('{"a": {"b": x}}',)
