"""What the stub says to the prompts of an article's steps."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llmstub import tokens
from llmstub.domain import FinishReason, GenerationRequest, Reply
from llmstub.replies.composer import ReplyOverrides, compose, seeded_random

BRIEFS: dict[str, dict[str, Any]] = {
    "English": {
        "topic": "Rain gardens in small cities",
        "keywords": ["storm water", "native plants"],
    },
    "Japanese": {
        "topic": "小さな町の図書館が続ける夜間開館",
        "keywords": ["仕事帰りの利用者", "光熱費"],
    },
}
OUTLINE = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "sections": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "heading": {"type": "string"},
                    "points": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


def reply_to(
    prompt: str,
    *,
    seed: int = 0,
    overrides: ReplyOverrides | None = None,
    **options: Any,  # noqa: ANN401 - fields of GenerationRequest
) -> Reply:
    ask = GenerationRequest(model="m", prompt=prompt, input_tokens=tokens.count(prompt), **options)
    random = seeded_random(seed, "claude", "m", {"prompt": prompt})
    return compose(ask, random, overrides) if overrides else compose(ask, random)


def outline_of(language: str) -> dict[str, Any]:
    brief = json.dumps(BRIEFS[language], ensure_ascii=False)
    prompt = f"Outline an article in four sections. Write in {language}.\n\nBrief:\n{brief}"
    return json.loads(reply_to(prompt, schema=OUTLINE).text)


def draft_of(language: str, section: dict[str, Any]) -> str:
    topic = BRIEFS[language]["topic"]
    text = json.dumps(section, ensure_ascii=False)
    return reply_to(
        f"Draft this section of an article. Write in {language}.\n\nTopic: {topic}\n\n{text}",
        max_tokens=1500,
    ).text


@pytest.mark.parametrize("language", BRIEFS)
def test_an_outline_names_the_topic_and_differs_from_section_to_section(language: str) -> None:
    outline = outline_of(language)

    assert BRIEFS[language]["topic"].lower() in outline["title"].lower()
    headings = [section["heading"] for section in outline["sections"]]
    assert len(set(headings)) == len(headings) == 4
    assert all(len(section["points"]) == 3 for section in outline["sections"])
    assert BRIEFS[language]["keywords"][0] in json.dumps(outline, ensure_ascii=False)


@pytest.mark.parametrize("language", BRIEFS)
def test_a_draft_goes_on_with_its_part_of_the_outline(language: str) -> None:
    section = outline_of(language)["sections"][1]
    draft = draft_of(language, section)

    assert draft.startswith(f"## {section['heading']}\n")
    assert all(point in draft for point in section["points"])
    assert 200 < tokens.count(draft) < 700


@pytest.mark.parametrize("language", BRIEFS)
def test_a_review_speaks_of_the_sections_and_a_polished_article_keeps_them(language: str) -> None:
    sections = outline_of(language)["sections"]
    drafts = json.dumps([draft_of(language, each) for each in sections], ensure_ascii=False)
    review = reply_to(f"Review the draft. Write in {language}.\n\n{drafts}").text
    article = reply_to(
        f"Polish the article. Write in {language}.\n\nTopic: {BRIEFS[language]['topic']}\n\n"
        f"Draft:\n{drafts}\n\nReview:\n{review}",
        max_tokens=8000,
    )

    assert sections[0]["heading"] in review
    headings = re.findall(r"^## (.+)$", article.text, re.MULTILINE)
    assert headings == [section["heading"] for section in sections]
    assert article.text.startswith(f"# {BRIEFS[language]['topic']}")
    assert article.finish is FinishReason.STOP
    assert '"' not in article.text


def test_a_polished_article_is_shortened_rather_than_cut() -> None:
    drafts = "\n\n".join(draft_of("English", each) for each in outline_of("English")["sections"])
    article = reply_to(f"Polish the article.\n\n{drafts}", max_tokens=600)

    assert article.finish is FinishReason.STOP
    assert article.usage.output <= 600
    assert len(re.findall(r"^## ", article.text, re.MULTILINE)) == 4


def test_research_lists_findings_questions_and_sources() -> None:
    notes = reply_to(
        "Research this section.\n\nTopic: rain gardens\n\nSection: The first year"
    ).text

    assert notes.startswith("## Notes on The first year")
    assert notes.count("\n### ") == 3
    assert "rain gardens" in notes


@pytest.mark.parametrize("words", [60, 300])
def test_a_length_that_the_prompt_names_is_kept_roughly(words: int) -> None:
    text = reply_to(f"Write about storm water, {words} words.", max_tokens=4000).text

    assert f"{words}" not in text
    assert words * 0.6 < len(text.split()) < words * 1.8


def test_replies_grow_with_the_limit() -> None:
    sizes = [
        reply_to("Write about tea.", max_tokens=limit).usage.output for limit in (400, 1200, 4000)
    ]

    assert sizes[0] < sizes[1] < sizes[2]


def test_the_same_request_gets_the_same_reply_and_another_seed_another() -> None:
    assert reply_to("Write about tea.") == reply_to("Write about tea.")
    assert reply_to("Write about tea.").text != reply_to("Write about tea.", seed=1).text
    assert reply_to("Write about tea.").text != reply_to("Write about coffee.").text


@pytest.mark.parametrize("limit", [0, 1, 7, 50])
def test_a_cut_reply_is_the_beginning_of_the_whole_in_whole_characters(limit: int) -> None:
    prompt = "図書館について書いてください。"
    cut, whole = reply_to(prompt, max_tokens=limit), reply_to(prompt, max_tokens=4000)

    assert cut.usage.output <= limit
    assert cut.finish is FinishReason.LENGTH
    assert whole.text.startswith(cut.text[:20])
    assert "\ufffd" not in cut.text


@pytest.mark.parametrize("chunks", [1, 10, 300])
def test_a_reply_is_cut_into_the_pieces_that_a_script_wants(chunks: int) -> None:
    shaped = reply_to("Write about tea.", overrides=ReplyOverrides(chunks=chunks))

    assert len(shaped.chunks) == chunks
    assert shaped.text == reply_to("Write about tea.").text


@pytest.mark.parametrize(
    "prompt",
    ["", "?", "{}", "{topic} {a} %s \\", "🙂" * 50, '"' * 5000, "# \n" * 5000, "の" * 9000],
)
def test_any_prompt_gets_a_reply(prompt: str) -> None:
    assert len(reply_to(prompt).text) > 100


def test_a_huge_prompt_is_answered_quickly_enough() -> None:
    assert "storm water" in reply_to("Write about storm water.\n" + "x" * 20_000_000).text
