"""Recorded answers: an article for any topic in each language, and one for each example's brief.

A recording is a text file. Its header says the language, what is put in where a prompt names no
`topic` or `keyword`, and, for a certain topic, the expression to `match`. Then come three parts:
the article (its titles; sections of `- ` points with their paragraphs, and `> ` findings), the
notes, and the review (headings with lists).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import cycle
from typing import TYPE_CHECKING

from llmstub import tokens

if TYPE_CHECKING:
    from random import Random

    from llmstub.replies.prompts import RecognizedPrompt

_SENTENCE = re.compile(r"[^.。!?！？]+(?:[.。!?！？]+\s*|\Z)")


@dataclass(frozen=True, slots=True)
class RecordedSection:
    """A section of an article, its points in order."""

    heading: str
    paragraphs: dict[str, str]  # by point
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordedArticle:
    """A recording with the topic and the keywords of a prompt put in."""

    language: str
    topic: str
    keywords: tuple[str, ...]
    titles: tuple[str, ...]
    sections: tuple[RecordedSection, ...]
    notes: dict[str, tuple[str, ...]]  # heading to lines; the first heading is of all of them
    review: dict[str, tuple[str, ...]]

    def section(self, heading: str) -> RecordedSection:
        """Return the section of a heading; the first when it was not recorded."""
        return next((each for each in self.sections if each.heading == heading), self.sections[0])

    def paragraphs(self) -> list[str]:
        return [text for section in self.sections for text in section.paragraphs.values()]

    def excerpt(self, wanted: int) -> str:
        """Return whole sentences of about so many tokens."""
        text = ""
        for paragraph in cycle(self.paragraphs()):
            text, is_full = self._extended(text, paragraph, wanted)
            if is_full:
                return text
        return text

    def article(self, wanted: int) -> str:
        """Return Markdown of about so many tokens, from the title on."""
        text = f"# {self.titles[0]}\n\n"
        for number, section in enumerate(cycle(self.sections)):
            text += f"## {section.heading}\n\n" if number else ""
            for paragraph in section.paragraphs.values():
                text, is_full = self._extended(text, paragraph, wanted)
                if is_full:
                    return text.rstrip() + "\n"
                text += "\n\n"
        return text

    @staticmethod
    def _extended(text: str, paragraph: str, wanted: int) -> tuple[str, bool]:
        for sentence in _SENTENCE.findall(paragraph):
            text += sentence
            if tokens.count(text) >= wanted:
                return text, True
        return text, False


def article_for(facts: RecognizedPrompt, random: Random) -> RecordedArticle:
    """Return the recording that fits a prompt; the general ones vary with `random`."""
    fitting = [each for each in _recordings() if each.language == facts.language]
    recording = next((each for each in fitting if each.fits(facts.text)), fitting[-1])
    return recording.filled(facts, random)


@dataclass(frozen=True, slots=True)
class _Recording:
    header: dict[str, str]
    titles: tuple[str, ...]
    sections: tuple[str, ...]
    notes: str
    review: str

    @classmethod
    def read(cls, text: str) -> _Recording:
        header, article, notes, review = re.split(r"^# ", text, flags=re.MULTILINE)
        titles, *sections = re.split(r"^## ", article, flags=re.MULTILINE)
        fields = dict(line.split(": ", 1) for line in header.split("\n") if line)
        return cls(fields, tuple(titles.strip().split(" | ")), tuple(sections), notes, review)

    @property
    def language(self) -> str:
        return self.header["language"]

    def fits(self, prompt: str) -> bool:
        """Whether the prompt is about this topic or carries a heading of the recorded outline."""
        headings = [section.partition("\n")[0] for section in self.sections]
        match = self.header.get("match")
        return match is not None and (
            re.search(match, prompt, re.IGNORECASE) is not None
            or any(heading in prompt for heading in headings)
        )

    def filled(self, facts: RecognizedPrompt, random: Random) -> RecordedArticle:
        topic = facts.topic or self.header.get("topic", "")
        keywords = facts.keywords or (self.header.get("keyword", topic),)
        titles, sections = list(self.titles), list(self.sections)
        if "match" not in self.header:  # the sections stand each for itself
            random.shuffle(titles)
            random.shuffle(sections)

        def fill(text: str, number: int = 0) -> str:
            keyword = keywords[number % len(keywords)]
            return text.replace("{topic}", topic).replace("{keyword}", keyword)

        return RecordedArticle(
            language=self.language,
            topic=topic,
            keywords=keywords,
            titles=tuple(title[:1].upper() + title[1:] for title in map(fill, titles)),
            sections=tuple(_section(fill(text, number)) for number, text in enumerate(sections)),
            notes=_lists(fill(self.notes)),
            review=_lists(fill(self.review)),
        )


def _section(text: str) -> RecordedSection:
    heading, *lines = text.strip().split("\n")
    points = [line[2:] for line in lines if line.startswith("- ")]
    paragraphs = [line.strip() for line in lines if line.startswith("  ")]
    findings = [line[2:] for line in lines if line.startswith("> ")]
    return RecordedSection(heading, dict(zip(points, paragraphs, strict=True)), tuple(findings))


def _lists(text: str) -> dict[str, tuple[str, ...]]:
    parts = [part.strip().split("\n") for part in re.split(r"^### ", text, flags=re.MULTILINE)]
    return {heading: tuple(line[2:] for line in lines) for heading, *lines in parts}


@cache
def _recordings() -> tuple[_Recording, ...]:
    """Return all recordings, the general ones last."""
    files = resources.files("llmstub.replies").joinpath("recordings").iterdir()
    found = [_Recording.read(file.read_text(encoding="utf-8")) for file in files]
    return tuple(sorted(found, key=lambda each: "match" not in each.header))
