"""Markdown prose for each task of an article."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.replies.brief import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmstub.replies.markdown import Section
    from llmstub.replies.phrases import Phrases

_PARAGRAPH = 90  # tokens
_SECTIONS = 4
_LISTED = 4
_ROOM = 0.9  # of the limit, what a polished article may fill


def write(phrases: Phrases, target: int, limit: int | None) -> str:
    """Return Markdown of about `target` tokens. Only a polished article, which repeats the
    sections it was given, may be longer, and then stays below `limit`."""
    task = phrases.brief.task
    if task is Task.POLISH and phrases.brief.sections:
        return _polished(phrases, limit)
    writers: dict[Task, Callable[[Phrases, int], str]] = {
        Task.OUTLINE: _outline,
        Task.RESEARCH: _notes,
        Task.DRAFT: _section,
        Task.REVIEW: _review,
        Task.POLISH: _article,
        Task.ANSWER: _article,
    }
    return writers[task](phrases, target)


def _outline(phrases: Phrases, target: int) -> str:
    count = phrases.brief.asked("sections") or _SECTIONS
    share = max(1, round(target / count / 20))
    lines = [f"# {phrases.deal('titles')}"]
    for number in range(1, count + 1):
        lines.append(f"\n{number}. **{phrases.deal('headings')}**")
        lines += ["   - " + phrases.deal("points") for _ in range(min(_LISTED, share))]
    return "\n".join(lines) + "\n"


def _notes(phrases: Phrases, target: int) -> str:
    subject = phrases.brief.heading or phrases.brief.topic
    parts = [f"## {phrases.label('notes', subject)}", phrases.deal("openers")]
    for label, kind, mark in (
        ("findings", "findings", "- "),
        ("questions", "questions", "- "),
        ("sources", "sources", "- "),
    ):
        parts += [f"### {phrases.label(label)}", _listed(phrases, kind, mark, target)]
    return _ended(phrases, parts, target)


def _review(phrases: Phrases, target: int) -> str:
    brief = phrases.brief
    subject = brief.heading or brief.topic
    parts = [f"## {phrases.label('review', subject)}"]
    parts += [f"### {phrases.label('praises')}", _listed(phrases, "praises", "- ", target)]
    remarks = _listed(phrases, "remarks", "1. ", target)
    if brief.sections:
        headings = [section.heading for section in brief.sections if section.level > 1]
        lines = remarks.splitlines()
        for n, heading in enumerate(headings[: len(lines)]):
            lines[n] = f"1. {phrases.label('in', heading)}{lines[n][3:]}"
        remarks = "\n".join(lines)
    parts += [f"### {phrases.label('remarks')}", _numbered(remarks)]
    parts += [f"### {phrases.label('verdict')}", phrases.deal("verdicts")]
    return "\n\n".join(parts) + "\n"


def _section(phrases: Phrases, target: int) -> str:
    brief = phrases.brief
    parts = [f"## {brief.heading or phrases.deal('headings')}"]
    if brief.points:
        share = max(_PARAGRAPH // 2, target // len(brief.points))
        for point in brief.points:
            lead = f"**{brief.bank.ended(point)}**{brief.bank.gap}{phrases.deal('sentences')}"
            parts.append(phrases.paragraph(share, lead))
        parts.append(phrases.deal("closings"))
        return "\n\n".join(parts) + "\n"
    parts.append(phrases.paragraph(_PARAGRAPH, phrases.deal("openers")))
    return _ended(phrases, parts, target)


def _article(phrases: Phrases, target: int) -> str:
    parts = [f"# {phrases.deal('titles')}"]
    parts.append(phrases.paragraph(_PARAGRAPH, phrases.deal("openers")))
    while _cost(parts) < target - 2 * _PARAGRAPH:
        parts.append(f"## {phrases.deal('headings')}")
        parts += [phrases.paragraph(_PARAGRAPH) for _ in range(2)]
    return _ended(phrases, parts, target)


def _polished(phrases: Phrases, limit: int | None) -> str:
    sections = phrases.brief.sections
    opening = [] if sections[0].level == 1 else [f"# {_title(phrases)}", phrases.deal("openers")]
    closing = phrases.deal("closings")
    fixed = _cost([*opening, closing])
    whole = sum(tokens.count(section.body) + 20 for section in sections)
    share = 1.0 if limit is None else min(1.0, max(0.0, (limit * _ROOM - fixed) / max(whole, 1)))
    parts = [*opening, *(_shortened(section, share) for section in sections), closing]
    return "\n\n".join(parts) + "\n"


def _title(phrases: Phrases) -> str:
    return phrases.brief.bank.sentence(phrases.brief.topic)


def _shortened(section: Section, share: float) -> str:
    """Return a section with so much of its body, in whole paragraphs but for the last."""
    heading = f"{'#' * section.level} {section.heading}"
    if share >= 1:
        return f"{heading}\n\n{section.body}"
    body = tokens.cut(section.body, int(tokens.count(section.body) * share))
    ends = max(body.rfind(end) for end in (". ", ".\n", "。", "\n\n"))
    return f"{heading}\n\n{body[: ends + 1].strip() or body}"


def _listed(phrases: Phrases, kind: str, mark: str, target: int) -> str:
    count = max(2, min(_LISTED, target // (3 * 30)))
    return "\n".join(mark + phrases.deal(kind) for _ in range(count))


def _numbered(lines: str) -> str:
    return "\n".join(f"{n}.{line[2:]}" for n, line in enumerate(lines.splitlines(), 1))


def _ended(phrases: Phrases, parts: list[str], target: int) -> str:
    while _cost(parts) < target - _PARAGRAPH // 2:
        parts.append(phrases.paragraph(min(_PARAGRAPH, target - _cost(parts))))
    return "\n\n".join([*parts, phrases.deal("closings")]) + "\n"


def _cost(parts: list[str]) -> int:
    return tokens.count("\n\n".join(parts))
