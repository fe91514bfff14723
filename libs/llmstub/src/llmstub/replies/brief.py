"""What the stub makes of a prompt: language, task, topic, words, and the texts it brings along."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from llmstub.replies import labels, markdown, recall, vocabulary
from llmstub.replies.english import ENGLISH
from llmstub.replies.japanese import JAPANESE

if TYPE_CHECKING:
    from llmstub.replies.bank import Bank
    from llmstub.replies.markdown import Section

_BEGINNING, _END = 40_000, 20_000  # of a long prompt, the characters that are read
_JAPANESE_SHARE = 0.12  # of the letters: an English frame may stand around a Japanese brief
_LEAST_WORDS, _MOST_WORDS = 3, 8
_LENGTH = re.compile(r"[, ]+(?:in |of )?(?:about |around )?\d[\d,]* words\b.*")
_INSTRUCTION = 800  # characters at the beginning that say what to do
_LONGEST_TOPIC = 80
_BYTES_PER_WORD = 6


class Task(Enum):
    """The step of an article that a prompt asks for, by the words that give it away."""

    OUTLINE = r"\boutlin\w*|\bplan\w* (?:an |the )?article|構成案|アウトライン|目次|構成を"
    RESEARCH = r"\bresearch\w*|調査|リサーチ|下調べ"
    DRAFT = r"\bdraft\w*|\bwrit\w+ (?:the|this|one|a|its) section|下書き|草稿|執筆|本文を"
    REVIEW = r"\breview\w*|\bcritique|レビュー|査読|校閲|講評"
    POLISH = r"\bpolish\w*|\bcopy-?edit\w*|\bfinal version|\blast pair of eyes|推敲|仕上げ|清書"
    ANSWER = r"\Z"


@dataclass(frozen=True, slots=True)
class Brief:
    bank: Bank
    task: Task
    topic: str
    heading: str  # of the section that is asked for; empty when the whole is
    words: tuple[str, ...]  # at least two
    points: tuple[str, ...]  # what the section has to say
    sections: tuple[Section, ...]  # the Markdown that the prompt brings along
    tokens_wanted: int | None
    text: str

    @classmethod
    def read(cls, prompt: str) -> Brief:
        text = prompt
        if len(prompt) > _BEGINNING + _END:
            text = prompt[:_BEGINNING] + "\n" + prompt[-_END:]
        bank = JAPANESE if _is_japanese(text) else ENGLISH
        sections = markdown.sections(text)
        topic = _topic(text, bank, sections)
        return cls(
            bank=bank,
            task=_task(text),
            topic=topic,
            heading=labels.last(text, labels.HEADING),
            words=_words(text, topic, bank),
            points=labels.points(text),
            sections=sections,
            tokens_wanted=_tokens_wanted(text),
            text=text,
        )

    def asked(self, noun: str) -> int | None:
        """Return how many of something the prompt asks for ("four sections")."""
        return vocabulary.number_of(noun, self.text)


def _is_japanese(text: str) -> bool:
    named = vocabulary.LANGUAGE.search(text)
    if named:
        return named.group().lower().rstrip('"で').endswith(("ja", "japanese", "日本語"))
    if text.isascii():
        return False
    letters = sum(1 for letter in text if letter.isalpha())
    japanese = sum(1 for letter in text if "\u3040" <= letter <= "\u9fff")
    return japanese > letters * _JAPANESE_SHARE


def _task(text: str) -> Task:
    """Return the task that is named first: a review mentions the draft, a draft the research."""
    begins: list[tuple[int, Task]] = []
    for task in Task:
        found = re.search(task.value, text, re.IGNORECASE)
        if found:
            begins.append((found.start(), task))
    return min(begins, key=lambda begin: begin[0])[1]


def _topic(text: str, bank: Bank, sections: tuple[Section, ...]) -> str:
    """Return what the prompt labels as topic or says it is about, else what we said it was."""
    title, heading = labels.first(text, labels.TITLE), labels.last(text, labels.HEADING)
    points = labels.points(text)
    lines = [title, heading, *points, *(section.heading for section in sections)]
    topic = labels.first(text, labels.TOPIC) or recall.topic(lines, bank) or _about(text) or title
    if not topic and heading and recall.is_ours(heading, bank):
        common = vocabulary.common_words(bank)
        topic = next(iter(vocabulary.phrases("\n".join(points), bank, common)), "")
    topic = topic or heading
    if not topic:
        quoted = vocabulary.QUOTED.search(text)
        topic = quoted[1] if quoted else ""
    topic = _LENGTH.sub("", re.sub(r"\s+", " ", topic)).strip(" .。、,:;\"'*「」“”")
    if len(topic) > _LONGEST_TOPIC:
        topic = topic[:_LONGEST_TOPIC].rsplit(" ", 1)[0]
    first, _, rest = topic.partition(" ")
    if rest and first in vocabulary.OPENING_WORDS:
        topic = f"{first.lower()} {rest}"
    return topic or bank.fallback_topic


def _about(text: str) -> str:
    for pattern in vocabulary.ABOUT:
        found = pattern.search(text[:_INSTRUCTION])
        if found:
            return next(filter(None, found.groups()), "")
    return ""


def _words(text: str, topic: str, bank: Bank) -> tuple[str, ...]:
    """Return phrases of the prompt: those it lists, then the topic's, then the most frequent."""
    found = dict.fromkeys(labels.keywords(text))
    common = vocabulary.common_words(bank)
    found |= dict.fromkeys(vocabulary.phrases(topic, bank, common))
    counted = Counter(vocabulary.phrases(text, bank, common))
    found |= dict.fromkeys(phrase for phrase, _ in counted.most_common(_MOST_WORDS))
    words = tuple(word for word in found if word.lower() != topic.lower())[:_MOST_WORDS]
    return words if len(words) >= _LEAST_WORDS else words + bank.fallback_words


def _tokens_wanted(text: str) -> int | None:
    words = re.search(r"(\d[\d,]{1,5})\s*words", text)
    if words:
        return int(words[1].replace(",", "")) * _BYTES_PER_WORD // 4
    letters = re.search(r"(\d[\d,]{1,5})\s*(?:文字|字)", text)
    return int(letters[1].replace(",", "")) * 3 // 4 if letters else None
