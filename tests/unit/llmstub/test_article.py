"""The stub carries the article of examples/ from the outline to the polished text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llmstub import tokens
from llmstub.domain import FinishReason, GenerationRequest
from llmstub.replies.composer import compose, seeded_random

ARTICLE = Path(__file__).parents[3] / "examples" / "article"
LANGUAGES = {"English": "heat-pumps", "日本語": "machiya"}
STEPS: dict[str, Any] = {
    step["step"]: step["llm"]
    for step in yaml.safe_load((ARTICLE / "pipeline.yaml").read_text())["steps"]
}


def text_of_step(step: str, **values: Any) -> str:  # noqa: ANN401 - JSON
    prompt = (ARTICLE / "prompts" / f"{step}.md").read_text()
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        prompt = prompt.replace(f"{{{{{name}}}}}", text)
    assert "{{" not in prompt
    llm = STEPS[step]
    limit, schema = llm["max_output_tokens"], llm.get("output_schema")
    ask = GenerationRequest("m", prompt, tokens.count(prompt), max_tokens=limit, schema=schema)
    reply = compose(ask, seeded_random(0, "claude", "m", {"prompt": prompt}))
    assert reply.finish is FinishReason.STOP
    return reply.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_article_goes_through_all_its_steps(language: str) -> None:
    brief = json.loads((ARTICLE / "briefs" / f"{LANGUAGES[language]}.json").read_text())
    outline = json.loads(text_of_step("outline", **brief))
    drafts: list[str] = []
    for section in outline["sections"]:
        findings = text_of_step(
            "research", section=section, audience=brief["audience"], language=language
        )
        heading, points = section["heading"], section["points"]
        texts = {"heading": heading, "points": points, "findings": findings}
        drafts.append(text_of_step("draft", title=outline["title"], language=language, **texts))
    joined = "\n\n".join(drafts)
    review = json.loads(
        text_of_step("review", drafts=joined, brief=brief["brief"], language=language)
    )
    title, remarks = outline["title"], review["remarks"]
    article = text_of_step("polish", title=title, drafts=joined, remarks=remarks, language=language)

    jsonschema.validate(outline, STEPS["outline"]["output_schema"])
    jsonschema.validate(review, STEPS["review"]["output_schema"])
    topic = brief["topic"].lower()
    assert all(topic in text.lower() for text in (outline["title"], *drafts, article))
    headings = [section["heading"] for section in outline["sections"]]
    assert re.findall(r"^## (.+)$", article, re.MULTILINE) == headings
    assert all(draft.rstrip() in article for draft in drafts)
    assert remarks[0] not in article
    assert article.isascii() == (language == "English")
