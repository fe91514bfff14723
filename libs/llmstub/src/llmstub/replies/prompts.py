"""What a prompt asks for: language, task, topic, section, points and length."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast

from llmstub.replies import markdown

if TYPE_CHECKING:
    from llmstub.replies.markdown import Section

_BEGINNING, _END = 40_000, 20_000  # of a long prompt, the characters that are read
_INSTRUCTION = 800  # characters at the beginning that say what to do
_LONGEST_TOPIC = 80
_BYTES_PER_WORD = 6
_JAPANESE_SHARE = 0.12  # of the letters: an English event may stand around a Japanese brief

_TOPIC = "topic|theme|subject|テーマ|主題|題材|トピック"
_TITLE = "article title|title|called|titled|タイトル|題名|題"
_HEADING = "section heading|heading|section|見出し|節|セクション"
_POINTS = "points|key points|bullets|要点|論点"
_KEYWORDS = "keywords|must_mention|terms|キーワード"

_LANGUAGE = re.compile(
    r"\"?\b(?:language|lang|locale)\"?\s*[:=]\s*\"?(?:ja|japanese|en|english)\b\"?"
    r"|\bin (?:japanese\b|english\b|日本語|英語)|(?:日本語|英語)で",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\b(?:about|on the topic of|(?:article|essay|text|story|post|chunk) on)"
    r"\s+([^.\n:;?!]{3,160}?)(?: for [^.\n:;?!]{3,120})?(?=[.\n:;?!]|\Z)"
    r"|「([^」\n]{2,60})」|([^\s。、:：「」]{2,40}?)(?:について|に関する|をテーマ)",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"[, ]+(?:in |of )?(?:about |around )?\d[\d,]* words\b.*")
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10}
_COUNTED = {"sections": "節|章|セクション|見出し", "points": "要点|論点|ポイント"}


class Task(Enum):
    """The step of an article that a prompt asks for, by the words that name it."""

    OUTLINE = r"\boutlin\w*|\bplan\w* (?:an |the )?article|構成案|アウトライン|目次|構成を"
    RESEARCH = r"\bresearch\w*|調査|リサーチ|下調べ"
    DRAFT = r"\bdraft\w*|\bwrit\w+ (?:the|this|one|a|its) section|下書き|草稿|執筆|本文を"
    REVIEW = r"\breview\w*|\bcritique|レビュー|査読|校閲|講評"
    POLISH = r"\bpolish\w*|\bcopy-?edit\w*|\bfinal version|\blast pair of eyes|推敲|仕上げ|清書"
    ANSWER = r"\Z"


@dataclass(frozen=True, slots=True)
class RecognizedPrompt:
    """What was found in a prompt; a text that it does not have is empty."""

    text: str
    language: str  # en or ja
    task: Task
    topic: str
    title: str
    heading: str  # of the section that is asked for; empty: the whole article
    keywords: tuple[str, ...]
    points: tuple[str, ...]  # that the section has to make
    sections: tuple[Section, ...]  # the Markdown that the prompt brings along
    tokens_wanted: int | None

    @classmethod
    def read(cls, prompt: str) -> RecognizedPrompt:
        text = prompt
        if len(prompt) > _BEGINNING + _END:
            text = prompt[:_BEGINNING] + "\n" + prompt[-_END:]
        title = _labelled(text, _TITLE)[:1]
        heading = _labelled(text, _HEADING)[-1:]  # what differs follows what the steps share
        return cls(
            text=text,
            language="ja" if _is_japanese(text) else "en",
            task=_task(text),
            topic=_topic(text, *title),
            title="".join(title),
            heading="".join(heading),
            keywords=_listed(text, _KEYWORDS),
            points=_listed(text, _POINTS),
            sections=markdown.sections(text),
            tokens_wanted=_tokens_wanted(text),
        )

    def count_of(self, noun: str) -> int | None:
        """Return how many of something the prompt asks for ("four sections")."""
        names = rf"(?:{re.escape(noun)}|{re.escape(noun.rstrip('s'))}s)"
        pattern = rf"\b(\d{{1,2}}|{'|'.join(_NUMBERS)})\s+(?:\w+\s+)?{names}\b"
        if noun in _COUNTED:
            pattern += rf"|(\d{{1,2}})[つ個]?の?(?:{_COUNTED[noun]})"
        found = re.search(pattern, self.text, re.IGNORECASE)
        number = (found[1] or found[2]) if found else ""
        return _NUMBERS.get(number.lower()) or int(number) if number else None


def _is_japanese(text: str) -> bool:
    named = _LANGUAGE.search(text)
    if named:
        return named.group().lower().rstrip('"で').endswith(("ja", "japanese", "日本語"))
    letters = sum(map(str.isalpha, text))
    return sum("\u3040" <= letter <= "\u9fff" for letter in text) > letters * _JAPANESE_SHARE


def _task(text: str) -> Task:
    """Return the task that is named first: a review mentions the draft, a draft the research."""
    found = {task: re.search(task.value, text, re.IGNORECASE) for task in Task}
    begins = {task: match.start() for task, match in found.items() if match}
    return min(begins, key=begins.__getitem__)


def _topic(text: str, title: str = "") -> str:
    """Return what the prompt labels as its topic, says it is about, or has as its title."""
    about = _ABOUT.search(text[:_INSTRUCTION])
    labelled = _labelled(text, _TOPIC)
    if labelled:
        topic = labelled[0]
    elif title:  # the titles that the stub makes are `topic: what it says of it`
        topic = _uncapitalized(re.split(r": |：", title)[0])
    else:
        topic = next(filter(None, about.groups()), "") if about else ""
    topic = _LENGTH.sub("", re.sub(r"\s+", " ", topic)).strip(" .。、,:;\"'*「」“”")
    return topic if len(topic) <= _LONGEST_TOPIC else topic[:_LONGEST_TOPIC].rsplit(" ", 1)[0]


def _uncapitalized(text: str) -> str:
    """CallBegin a title as it stands inside a sentence, unless it begins with a name."""
    words = text.split()
    is_name = len(words) < 2 or words[1][0].isupper() or words[0][1:] != words[0][1:].lower()
    return text if is_name else text[:1].lower() + text[1:]


def _tokens_wanted(text: str) -> int | None:
    words = re.search(r"(\d[\d,]{1,5})\s*words", text)
    letters = re.search(r"(\d[\d,]{1,5})\s*(?:文字|字)", text)
    if words:
        return int(words[1].replace(",", "")) * _BYTES_PER_WORD // 4
    return int(letters[1].replace(",", "")) * 3 // 4 if letters else None


def _labelled(text: str, names: str) -> list[str]:
    """Return the values of `"name": "value"` and `Name: value`, else of `name "value"`."""
    in_json = rf'"(?:{names})"\s*:\s*"((?:[^"\\]|\\.){{1,300}})"'
    before = r"[ \t>*_#-]{0,6}(?:its |the |article )?"
    on_a_line = rf"^{before}(?:{names})[*_ ]{{0,3}}[:：][*_ \t]{{0,3}}(\S[^\n]{{0,200}})$"
    quoted = rf'(?:{names})は?[ ,:]*[“"「]([^”"」\n]{{2,160}})[”"」]'
    for pattern in (f"{in_json}|{on_a_line}", quoted):
        matches = re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE)
        values = [next(filter(None, match.groups())) for match in matches]
        found = [_unescaped(value.strip().strip("\"'「」")) for value in values]
        if found := [value for value in found if value and value[0] not in "{["]:
            return found
    return []


def _listed(text: str, names: str) -> tuple[str, ...]:
    lists = re.findall(
        rf'(?:\b|")(?:{names})"?\s*[:：]\s*(\[[^\[\]{{}}]{{0,4000}}\])', text, re.IGNORECASE
    )
    try:
        items: object = json.loads(lists[-1]) if lists else []
    except ValueError:
        return ()
    return tuple(item for item in cast("list[object]", items) if isinstance(item, str) and item)


def _unescaped(value: str) -> str:
    try:
        return str(json.loads(f'"{value}"'))
    except ValueError:
        return value
